/**
 * What a process writes, as text, while it writes it.
 *
 * @module
 */

/**
 * Reads `streams`, such as a child's standard output and error, into one text, in the order in which it comes. `text` is
 * all that has come so far; `ended` resolves when nothing more can come.
 */
export function readOutput(...streams: readonly ReadableStream<Uint8Array<ArrayBuffer>>[]) {
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) text += part;
  };
  return { text: () => text, ended: Promise.all(streams.map(read)).then(() => {}) };
}
