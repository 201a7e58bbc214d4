/**
 * The types of `@asyncapi/parser`, as far as they are used here. Its own bring those of Node with them, which take the
 * place of Deno's in all files.
 *
 * @module
 */

/** Something that the parser has to say of a document. */
export interface Diagnostic {
  /** 0 an error, 1 a warning, 2 an information, 3 a hint. */
  readonly severity: number;
  /** What it is. */
  readonly message: string;
  /** Where it is, key by key. */
  readonly path: readonly (string | number)[];
}

/** A parser with the rules of AsyncAPI. */
export class Parser {
  /** Reads and checks a document; there is none in the answer where it is not valid. */
  parse(text: string): Promise<{
    readonly document: { version(): string } | undefined;
    readonly diagnostics: readonly Diagnostic[];
  }>;
}
