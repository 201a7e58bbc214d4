// `deno task reset`: deletes the embedded data.

import { lstatSync, rmSync } from "node:fs";
import { removePostgres } from "../../shared/embedded/postgres.ts";
import {
  ASKING,
  EXIT_DONE,
  EXIT_NOT_DONE,
  type FlagValues,
  isWanted,
  refuseUnasked,
  task,
  teller,
} from "../tools/command.ts";
import { HOME_VARIABLE, homePaths, lockHome } from "./services.ts";

async function run(flags: FlagValues<typeof ASKING>): Promise<number> {
  const { "dry-run": dryRun, yes, json } = flags;
  refuseUnasked(flags);
  const home = homePaths(Deno.env.get(HOME_VARIABLE));
  const found = [home.postgres, home.env].filter((path) => lstatSync(path, { throwIfNoEntry: false }));
  const tell = teller(json);
  const looked = { dryRun, found, deleted: [] };
  if (found.length === 0 || dryRun) {
    const lines = found.map((path) => `Would delete ${path}`);
    tell(lines.join("\n") || `There is no embedded data in ${home.shown}.`, looked);
    return EXIT_DONE;
  }
  tell(found.map((path) => `To be deleted: ${path}`).join("\n"));
  if (!isWanted(yes, "All orders in it are lost. Delete it?")) return EXIT_NOT_DONE;
  using _lock = await lockHome(home);
  await removePostgres(home.postgres);
  rmSync(home.env, { force: true });
  const next = "the next `deno task dev` starts from nothing";
  tell(`Deleted the embedded data in ${home.shown}; ${next}.`, { ...looked, deleted: found });
  return EXIT_DONE;
}

if (import.meta.main) {
  await task({
    name: "reset",
    about: "deletes the data of the embedded Postgres, and nothing else",
    flags: ASKING,
    ends:
      `The data is in .orderflow, or in the folder that ORDERFLOW_HOME names. A deno task dev that uses it must be stopped
first. Without a terminal nobody can be asked: then it takes --yes.

Ends with 0 when the data is gone, 1 when it is not, 64 for a wrong usage.`,
    example: "--yes",
    run,
  });
}
