// The project's files, and what tests read out of a Markdown text: sections, fenced blocks, links and anchors.

import { join, relative } from "node:path";

const NOT_OURS: ReadonlySet<string> = new Set([
  ...[".git", ".orderflow", ".env"],
  ...["coverage", "dist", "node_modules"],
]);

/** The paths of all files below `root` that are the project's, from there. */
export function projectFiles(root: string, folder = root): string[] {
  return [...Deno.readDirSync(folder)].filter(({ name }) => !NOT_OURS.has(name)).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory ? projectFiles(root, path) : [relative(root, path)];
  });
}

export type FencedBlock = ReturnType<typeof fencedBlocks>[number];

const FENCED = /^```([^\n`]*)\n([^]*?)^```$/gm;

/**
 * The fenced blocks: what stands behind the opening fence, such as `sh`, the text between, and the paragraph before it,
 * which is empty right behind another block.
 */
export function fencedBlocks(markdown: string) {
  let end = 0;
  return [...markdown.matchAll(FENCED)].map(({ 0: whole, 1: info = "", 2: text = "", index }) => {
    const paragraph = markdown.slice(end, index).trim().split(/\n\n/).at(-1)?.replaceAll("\n", " ") ?? "";
    end = index + whole.length;
    return { info: info.trim(), text, paragraph };
  });
}

export function proseOf(markdown: string): string {
  return markdown.replaceAll(FENCED, "");
}

export function headingsOf(markdown: string, level: number): string[] {
  const pattern = new RegExp(`^#{${level}} (.+)$`, "gm");
  return [...proseOf(markdown).matchAll(pattern)].map(([, text = ""]) => text.trim());
}

/** What stands under the heading of the second level `heading`, up to the next one. Errors: when it is not there. */
export function sectionOf(markdown: string, heading: string): string {
  const section = markdown.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`There is no section "${heading}"`);
  return section.slice(heading.length);
}

export function codeOf(text = ""): string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, inner]) => inner ?? "");
}

export function linksOf(markdown: string): string[] {
  return [...proseOf(markdown).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
}

/**
 * The anchors of the headings, as GitHub makes them: lower case, without punctuation, a hyphen for each space, and a
 * number behind a heading that stands there again.
 */
export function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, text = ""] of proseOf(markdown).matchAll(/^#{1,6} (.+)$/gm)) {
    const plain = text.trim().toLowerCase().replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, "").replaceAll(" ", "-");
    let anchor = plain;
    for (let again = 1; anchors.has(anchor); again++) anchor = `${plain}-${again}`;
    anchors.add(anchor);
  }
  return anchors;
}
