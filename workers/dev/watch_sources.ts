// Bundles the page, and tells which processes a changed source file belongs to.

import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { z } from "zod";
import type { Environment } from "./child.ts";
import { type ProcessSpec, ROOT } from "./processes.ts";

/** How long the bundler may take, in milliseconds; it takes a tenth of a second. */
const BUNDLE_TIMEOUT_MS = 20_000;

/**
 * Runs `ui/bundle.ts` under its permission set, out of reach of a terminal's Ctrl-C, until `stop`; into the folder that
 * `UI_BUNDLE_DIR` names, if it does. Answers with what it said where it failed, and else with null.
 */
export async function bundlePage(env: Environment, stop?: AbortSignal): Promise<string | null> {
  const folder = env["UI_BUNDLE_DIR"] ?? "ui/dist";
  const options = ["-q", "--no-prompt", "--cached-only", "-P=bundle"];
  const access = [`--allow-read=.,${folder}`, `--allow-write=${folder}`];
  const { success, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...options, ...access, "ui/bundle.ts", folder],
    cwd: ROOT,
    clearEnv: true,
    env: { ...env },
    detached: true,
    signal: AbortSignal.any([AbortSignal.timeout(BUNDLE_TIMEOUT_MS), ...stop ? [stop] : []]),
  }).output();
  // Ctrl-C reaches it in the moment before it has a session of its own, and is told here before `stop` is.
  if (success || stop?.aborted || signal === "SIGINT") return null;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return text(stderr) || text(stdout) || `it took longer than ${BUNDLE_TIMEOUT_MS / 1000} s`;
}

/** The files of a process: its script and all that it imports, as absolute paths. */
type SourceGraph = ReadonlyMap<ProcessSpec, ReadonlySet<string>>;

const infoSchema = z.object({ modules: z.array(z.object({ specifier: z.string() })) });

/**
 * Reads the graph of each process. Files that do not parse or are missing for the moment are part of it all the same;
 * where nothing can be read, such as while deno.json is broken, what was known `before` stands.
 */
async function readGraph(
  specs: readonly ProcessSpec[],
  root: string,
  before: SourceGraph = new Map(),
): Promise<SourceGraph> {
  const graph = new Map(before);
  const own = pathToFileURL(join(root, "/")).href;
  for (const spec of specs) {
    const args = ["info", "-q", "--json", spec.entry];
    const { success, stdout } = await new Deno.Command(Deno.execPath(), { args, cwd: root, stderr: "null" })
      .output();
    if (!success) continue;
    const { modules } = infoSchema.parse(JSON.parse(new TextDecoder().decode(stdout)));
    const files = modules.map(({ specifier }) => specifier.split("?", 1).join())
      .filter((specifier) => specifier.startsWith(own));
    graph.set(spec, new Set(files.map((specifier) => fileURLToPath(specifier))));
  }
  return graph;
}

const SOURCE_FOLDERS = ["api", "shared", "ui", "workers"];

/** An editor writes a file in several steps, and "save all" several files: changes this close are one. */
const SETTLE_MS = 100;

/**
 * Watches the sources until `stop`. `onChange` is told of the processes to start again, and of the files of theirs that
 * changed; ahead of it `onPage`, where something of the page has. The graph is read again after each change, since imports
 * may have changed.
 */
export async function watchSources({ root, specs, onPage, onChange, stop }: {
  readonly root: string;
  readonly specs: readonly ProcessSpec[];
  readonly onPage: () => Promise<void>;
  readonly onChange: (specs: readonly ProcessSpec[], changed: readonly string[]) => void;
  readonly stop: AbortSignal;
}): Promise<void> {
  let graph = await readGraph(specs, root);
  if (stop.aborted) return;
  const watcher = Deno.watchFs(SOURCE_FOLDERS.map((folder) => join(root, folder)));
  stop.addEventListener("abort", () => watcher.close(), { once: true });
  const changed = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let settled = Promise.resolve();

  async function settle(): Promise<void> {
    const paths = [...changed];
    changed.clear();
    const theirs = (spec: ProcessSpec) => paths.filter((path) => graph.get(spec)?.has(path));
    const affected = specs.filter((spec) => theirs(spec).length > 0);
    if (paths.some((path) => isPageSource(path, root)) && !stop.aborted) await onPage();
    if (affected.length === 0 || stop.aborted) return;
    onChange(affected, [...new Set(affected.flatMap(theirs))]);
    graph = await readGraph(specs, root, graph);
  }

  for await (const event of watcher) {
    if (event.kind === "access") continue;
    event.paths.forEach((path) => changed.add(path));
    clearTimeout(timer);
    timer = setTimeout(() => settled = settled.then(settle), SETTLE_MS);
  }
  clearTimeout(timer);
  await settled;
}

/** Whether the page is bundled from the file; what the bundler writes is below the same folder. */
function isPageSource(path: string, root: string): boolean {
  if (path === join(root, "shared/ops/answers.ts")) return true;
  return path.startsWith(join(root, "ui/")) && !path.startsWith(join(root, "ui/dist"));
}
