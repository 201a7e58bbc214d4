/**
 * What a process writes, as text, while it writes it.
 *
 * @module
 */

/** The output of a process. */
export interface ReadOutput {
  /** All that it has written so far. */
  readonly text: () => string;
  /** Resolves when nothing more can come. */
  readonly ended: Promise<void>;
}

/** Reads `streams`, such as a child's standard output and error, into one text, in the order in which it comes. */
export function readOutput(...streams: readonly ReadableStream<Uint8Array<ArrayBuffer>>[]): ReadOutput {
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) text += part;
  };
  return { text: () => text, ended: Promise.all(streams.map(read)).then(() => {}) };
}
