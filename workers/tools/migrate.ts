/**
 * `deno task migrate`: brings the schema of `DATABASE_URL` up to date and ends.
 *
 * @module
 */
import { cannot, EXIT_DONE, readFlags, runCommand, usageOf } from "./command.ts";
import { readConfig } from "../../shared/process/config.ts";
import { migrate } from "../../shared/sql/migrate.ts";

const usage = usageOf(
  "migrate",
  "brings the schema of DATABASE_URL up to date",
  {},
  `DATABASE_URL names the database, DATABASE_ROLES=false makes no roles in it. Ends with 0 when the schema is up to
date, 1 when it could not be brought there, 64 for a wrong usage, 78 for a wrong configuration.`,
  "",
);

async function run(): Promise<number> {
  const { DATABASE_URL: url, DATABASE_ROLES: roles } = readConfig(["DATABASE_URL", "DATABASE_ROLES"]);
  await migrate(url, { roles }).catch(cannot("migrate"));
  console.log("The schema is up to date.");
  return EXIT_DONE;
}

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, {});
  Deno.exit(await runCommand({ task: "migrate", usage, read, run }, Deno.args));
}
