/**
 * `deno task reset`: deletes the embedded data. On a terminal it asks first; a script is not asked. The exit code is 0
 * when the data is gone, 1 when it could not be deleted or somebody said no, 64 for a wrong usage.
 *
 * @module
 */
import { lstatSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { EXIT_DONE, EXIT_NOT_DONE, type FlagValues, onOff, readFlags, runCommand } from "../tools/command.ts";
import { removePostgres } from "../../shared/embedded/postgres.ts";
import { HOME_VARIABLE, homePaths, lockHome, removeEnvFile } from "./services.ts";

const USAGE = `deno task reset: deletes the data of the embedded Postgres, and nothing else

  --dry-run      say what would be deleted, delete nothing
  --yes          do not ask; without a terminal nobody is asked anyway
  --json         print what was deleted as JSON; nobody is asked
  --help         print this

The data is in .orderflow, or in the folder that ORDERFLOW_HOME names. A \`deno task dev\` that uses it must be stopped
first. Ends with 0 when the data is gone, 1 when it is not, 64 for a wrong usage.

Example: deno task reset --yes`;

const FLAGS = { "dry-run": onOff, yes: onOff, json: onOff };

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, FLAGS)?.flags ?? null;
  Deno.exit(await runCommand({ task: "reset", usage: USAGE, read, run }, Deno.args));
}

async function run({ "dry-run": dryRun, yes, json }: FlagValues<typeof FLAGS>): Promise<number> {
  const home = homePaths(fileURLToPath(new URL("../..", import.meta.url)), Deno.env.get(HOME_VARIABLE));
  const found = [home.postgres, home.env].filter((path) => lstatSync(path, { throwIfNoEntry: false }));
  const say = json ? () => {} : (line: string) => console.log(line);
  const tell = (deleted: readonly string[]) => {
    if (json) console.log(JSON.stringify({ dryRun, found, deleted }));
    return EXIT_DONE;
  };
  if (found.length === 0) {
    say(`There is no embedded data in ${home.shown}.`);
    return tell([]);
  }
  for (const path of found) say(`${dryRun ? "Would delete" : "To be deleted:"} ${path}`);
  if (dryRun) return tell([]);
  if (!yes && !json && Deno.stdin.isTerminal() && !confirm("All orders in it are lost. Delete it?")) {
    console.error("Nothing has been deleted.");
    return EXIT_NOT_DONE;
  }
  using _lock = await lockHome(home);
  await removePostgres(home.postgres);
  removeEnvFile(home.env);
  say(`Deleted the embedded data in ${home.shown}; the next \`deno task dev\` starts from nothing.`);
  return tell(found);
}
