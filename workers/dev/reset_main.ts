/**
 * `deno task reset`: deletes the embedded data.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { removePostgres } from "../../shared/embedded/postgres.ts";
import { messageOf } from "../../shared/errors.ts";
import { HOME_VARIABLE, homePaths, lockHome, removeEnvFile } from "./home_folder.ts";

if (import.meta.main) {
  const home = homePaths(fileURLToPath(new URL("../..", import.meta.url)), Deno.env.get(HOME_VARIABLE));
  try {
    using _lock = await lockHome(home);
    await removePostgres(home.postgres);
    removeEnvFile(home.env);
    console.log(
      `Deleted the embedded data in ${home.shown}; the next \`deno task dev\` starts from nothing.`,
    );
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}
