/**
 * Takes out of a command's output how far its work was. On a terminal that line is drawn over itself and taken away at the
 * end; elsewhere it is printed every five seconds, so whether there is one depends on how busy the machine is. Pure.
 *
 * @module
 */

/** As `progressText` of `workers/tools/command.ts` begins. */
const PROGRESS_LINES = /^\[#*-*\] +\d+ % {2}.*\n/gm;

/** The text without lines of progress. */
export function withoutProgress(text: string): string {
  return text.replaceAll(PROGRESS_LINES, "");
}
