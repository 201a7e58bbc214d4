/**
 * Bundles the debug page, in a process of its own: the supervisor knows nothing of the page.
 *
 * @module
 */
import type { Environment } from "./child_command.ts";

/** Where the page's bundler is run. */
export interface BundleOptions {
  /** The project's root, where deno.json is. */
  readonly root: string;
  /** The bundler's whole environment. */
  readonly env: Environment;
}

/** How long the bundler may take, in milliseconds; it takes a tenth of a second. */
const BUNDLE_TIMEOUT_MS = 20_000;

/** Runs `ui/bundle_main.ts` under its permission set. Answers with what it said where it failed, and else with null. */
export async function bundlePage({ root, env }: BundleOptions): Promise<string | null> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", "--cached-only", "-P=bundle", "ui/bundle_main.ts"],
    cwd: root,
    clearEnv: true,
    env: { ...env },
    signal: AbortSignal.timeout(BUNDLE_TIMEOUT_MS),
  }).output();
  if (success) return null;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return text(stderr) || text(stdout) || `it took longer than ${BUNDLE_TIMEOUT_MS / 1000} s`;
}
