/**
 * Runs the commands of a lesson as its reader would, in one shell.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { fencedBlocks } from "./markdown.ts";

/** Commands of a lesson, and what it says that they print. */
export interface LessonStep {
  /** The lines of the block. */
  readonly commands: string;
  /** What is to be seen; null where the lesson does not say. */
  readonly expected: { readonly text: string; readonly unordered: boolean } | null;
}

/** What came of a lesson. */
export interface LessonRun {
  /** What each step has printed; fewer than there are steps where one failed. */
  readonly printed: readonly string[];
  /** The exit code of the shell, which ends with the first command that fails. */
  readonly code: number;
  /** Whether processes that the lesson started outlived it; they have been killed. */
  readonly leftSome: boolean;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** How long a lesson may run, in milliseconds. */
const LESSON_LIMIT_MS = 150_000;
/** Stands before the output of each step: the record separator of ASCII. */
const SEPARATOR = "\x1e";

/** The `sh` blocks of a lesson, each with the `text` block right behind it. */
export function stepsOf(lesson: string): LessonStep[] {
  const blocks = fencedBlocks(lesson);
  return blocks.flatMap(({ info, text: commands }, i): LessonStep[] => {
    if (info !== "sh") return [];
    const next = blocks[i + 1];
    const isExpected = next !== undefined && next.followsBlock && /^text\b/.test(next.info);
    return [{
      commands,
      expected: isExpected ? { text: next.text, unordered: next.info === "text unordered" } : null,
    }];
  });
}

/**
 * Runs the steps in the project's root, in one `sh` that stops at the first command that fails (`set -e`), with errors
 * in between the output, as a terminal shows them. What is still running after it, or after 150 s, is killed.
 */
export async function runLesson(
  steps: readonly LessonStep[],
  env: Readonly<Record<string, string>>,
): Promise<LessonRun> {
  const script = steps.map(({ commands }) => `printf '\\036'\n${commands}`).join("");
  const child = new Deno.Command("sh", {
    args: ["-e", "-c", `exec 2>&1\n${script}`],
    cwd: root,
    env: { ...env },
    detached: true, // a process group of its own: whoever is left can be found
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const late = setTimeout(() => killGroup(child.pid), LESSON_LIMIT_MS);
  const output = new Response(child.stdout).text();
  const { code } = await child.status;
  clearTimeout(late);
  const leftSome = killGroup(child.pid);
  const [, ...printed] = (await output).split(SEPARATOR);
  return { printed, code, leftSome };
}

/** Kills whoever is in the process group; answers whether anybody was. */
function killGroup(id: number): boolean {
  try {
    Deno.kill(-id, "SIGKILL"); // kill(2): a negative id is a group's
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
