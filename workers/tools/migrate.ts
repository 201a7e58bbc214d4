/**
 * `deno task migrate`: brings the schema of `DATABASE_URL` up to date and ends.
 *
 * @module
 */
import { ConfigError, readConfig } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { migrate } from "../../shared/sql/migrate.ts";

if (import.meta.main) {
  try {
    const config = readConfig(["DATABASE_URL", "DATABASE_ROLES"]);
    await migrate(config.DATABASE_URL, { roles: config.DATABASE_ROLES });
    console.log("The schema is up to date.");
  } catch (error) {
    console.error(error instanceof ConfigError ? error.message : `Cannot migrate: ${messageOf(error)}`);
    Deno.exit(error instanceof ConfigError ? EXIT_CONFIG : 1);
  }
}
