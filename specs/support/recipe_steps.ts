/**
 * The steps of a recipe in a Markdown document: what to put where, and what to run. People read them, and a test
 * follows them.
 *
 * A step is a paragraph with a fenced block behind it. Its last words say what the block is for: "New file `path`:",
 * "In `path`, before `text`:" (or "after"), "Run:".
 *
 * @module
 */
import { sectionOf } from "./markdown.ts";

/** A file that is new, with all its text. */
export interface NewFile {
  /** What kind of step it is. */
  readonly kind: "new";
  /** Its path from the project's root. */
  readonly path: string;
  /** Its text. */
  readonly text: string;
}

/** Lines that go right before or after a line of a file. */
export interface Insertion {
  /** What kind of step it is. */
  readonly kind: "insert";
  /** The file's path from the project's root. */
  readonly path: string;
  /** On which side of the line. */
  readonly where: "before" | "after";
  /** What that line has, and no other of the file. */
  readonly at: string;
  /** The lines, each with its end. */
  readonly text: string;
}

/** Commands to be run in the project's root. */
export interface Commands {
  /** What kind of step it is. */
  readonly kind: "run";
  /** One command each, without what a shell would have to read. */
  readonly commands: readonly string[];
}

/** One step of a recipe. */
export type Step = NewFile | Insertion | Commands;

const CODE = "(?:`` (.+?) ``|`([^`]+)`)";
const NEW_FILE = new RegExp(`New file ${CODE}:$`);
const INSERTION = new RegExp(`In ${CODE}, (before|after) ${CODE}:$`);

/**
 * The steps under the heading of the second level `heading`, in their order.
 *
 * Errors: when the section is not there, or has a block that is no step.
 */
export function stepsOf(markdown: string, heading: string): Step[] {
  const section = sectionOf(markdown, heading);
  if (section === "") throw new Error(`There is no section "${heading}"`);
  const steps: Step[] = [];
  let end = 0;
  for (const block of section.matchAll(/^```\w*\n([^]*?)^```$/gm)) {
    const paragraph = section.slice(end, block.index).trim().split(/\n\n/).at(-1) ?? "";
    steps.push(stepOf(paragraph.replaceAll("\n", " "), block[1] ?? ""));
    end = block.index + block[0].length;
  }
  return steps;
}

function stepOf(paragraph: string, text: string): Step {
  const created = NEW_FILE.exec(paragraph);
  if (created) return { kind: "new", path: created[1] ?? created[2] ?? "", text };
  const inserted = INSERTION.exec(paragraph);
  if (inserted) {
    const where = inserted[3] === "before" ? "before" : "after";
    const path = inserted[1] ?? inserted[2] ?? "";
    return { kind: "insert", path, where, at: inserted[4] ?? inserted[5] ?? "", text };
  }
  if (/(^|[ *])Run:$/.test(paragraph)) return { kind: "run", commands: text.trim().split("\n") };
  throw new Error(`This says neither where its block goes nor that it is to be run: "${paragraph}"`);
}

/**
 * The file's `text` with the lines of a step in it, as far indented as the line that they go beside.
 *
 * Errors: unless exactly one line has what the step names.
 */
export function withInsertion(text: string, { path, where, at, text: inserted }: Insertion): string {
  const lines = text.split("\n");
  const found = lines.flatMap((line, i) => line.includes(at) ? [i] : []);
  const [index] = found;
  if (index === undefined || found.length > 1) {
    throw new Error(`${path} must have \`${at}\` in one line, and has it in ${found.length}`);
  }
  const indent = /^ */.exec(lines[index] ?? "")?.join() ?? "";
  const block = dedented(inserted.replace(/\n$/, "").split("\n")).map((line) => line && `${indent}${line}`);
  return lines.toSpliced(where === "before" ? index : index + 1, 0, ...block).join("\n");
}

/** The lines without the blanks that all of them begin with. */
function dedented(lines: readonly string[]): string[] {
  const widths = lines.filter((line) => line !== "").map((line) => line.search(/[^ ]/));
  return lines.map((line) => line.slice(Math.min(...widths)));
}
