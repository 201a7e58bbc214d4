/**
 * `deno task migrate`: brings the schema of `DATABASE_URL` up to date and ends.
 *
 * @module
 */
import { EXIT_DONE, readFlags, runCommand, usageOf } from "./command.ts";
import { ConfigError, readConfig } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { migrate } from "../../shared/sql/migrate.ts";

const ends =
  `DATABASE_URL names the database, DATABASE_ROLES=false makes no roles in it. Ends with 0 when the schema is up to
date, 1 when it could not be brought there, 64 for a wrong usage, 78 for a wrong configuration.`;
const usage = usageOf("migrate", "brings the schema of DATABASE_URL up to date", {}, ends, "");

async function run(): Promise<number> {
  const { DATABASE_URL: url, DATABASE_ROLES: roles } = readConfig(["DATABASE_URL", "DATABASE_ROLES"]);
  await migrate(url, { roles }).catch((error) => {
    throw error instanceof ConfigError
      ? error
      : new Error(`Cannot migrate: ${messageOf(error)}`, { cause: error });
  });
  console.log("The schema is up to date.");
  return EXIT_DONE;
}

if (import.meta.main) {
  Deno.exit(
    await runCommand({ task: "migrate", usage, read: (args) => readFlags(args, {}), run }, Deno.args),
  );
}
