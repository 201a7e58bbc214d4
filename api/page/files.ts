/**
 * The page's bundled files.
 *
 * @module
 */
import { z } from "zod";

/** Where the page's script and styles are, as paths of URLs. */
export interface PageFiles {
  readonly script: string;
  readonly styles: string;
}

/** A file of the bundle, as it is served. */
export interface BundledFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly headers: Readonly<Record<string, string>>;
}

const TYPES: Readonly<Record<string, string>> = {
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
};
const FILE_NAME = /^[\w-]+\.(js|css|html)$/;
/** The name has a hash of the content, as in `island-XOCXUP7F.js`: under this name it never changes. */
const HASHED = /-[A-Z0-9]{8}\.\w+$/;

const namesSchema = z.object({ script: z.string().regex(FILE_NAME), styles: z.string().regex(FILE_NAME) });

/** The files of the bundle in `folder`; null where there is none. */
export async function readPageFiles(folder: string): Promise<PageFiles | null> {
  const text = await orNull(Deno.readTextFile(`${folder}/assets.json`));
  if (text === null) return null;
  const { script, styles } = namesSchema.parse(JSON.parse(text));
  return { script: `/assets/${script}`, styles: `/assets/${styles}` };
}

/** The file `name` of the bundle in `folder`; null where there is none, or it is no file that is served. */
export async function readBundledFile(folder: string, name: string): Promise<BundledFile | null> {
  const type = TYPES[FILE_NAME.exec(name)?.[1] ?? ""];
  const bytes = type ? await orNull(Deno.readFile(`${folder}/${name}`)) : null;
  if (!type || !bytes) return null;
  const caching = HASHED.test(name) ? "public, max-age=31536000, immutable" : "no-cache";
  return { bytes, headers: { "content-type": type, "cache-control": caching } };
}

async function orNull<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
