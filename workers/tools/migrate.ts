// `deno task migrate`: brings the schema of `DATABASE_URL` up to date and ends.

import { cannot, EXIT_DONE, task } from "./command.ts";
import { readConfig } from "../../shared/process/config.ts";
import { migrate } from "../../shared/sql/migrate.ts";

async function run(): Promise<number> {
  const { DATABASE_URL: url, DATABASE_ROLES: roles } = readConfig(["DATABASE_URL", "DATABASE_ROLES"]);
  await migrate(url, { roles }).catch(cannot("migrate"));
  console.log("The schema is up to date.");
  return EXIT_DONE;
}

if (import.meta.main) {
  await task({
    name: "migrate",
    about: "brings the schema of DATABASE_URL up to date",
    flags: {},
    groups: {},
    ends:
      `DATABASE_URL names the database, DATABASE_ROLES=false makes no roles in it. Ends with 0 when the schema is up to
date, 1 when it could not be brought there, 64 for a wrong usage, 78 for a wrong configuration.`,
    run,
  });
}
