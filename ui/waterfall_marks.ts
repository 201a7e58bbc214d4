/**
 * What happened to an event at one of its consumers, as marks of the waterfall.
 *
 * @module
 */
import type { StoryConsumer } from "./story_events.ts";

/** Something that happened at one time. */
export interface WaterfallMark {
  /** What it was. */
  readonly kind: "processed" | "retry" | "duplicate" | "dead-letter";
  /** Its place on the axis. */
  readonly x: number;
  /** What to say of it in a few words; empty where the bar says enough. */
  readonly note: string;
  /** A sentence that says all of it. */
  readonly title: string;
}

/** What happened at a consumer of an event of a type, in time; `place` puts a time on the axis. */
export function marksOf(
  type: string,
  { name, processedAt, duplicate, retry, deadLetter }: StoryConsumer,
  place: (time: number) => number,
): WaterfallMark[] {
  const marks: WaterfallMark[] = [];
  if (retry) {
    const due = retry.dueAt === null ? "" : ", waits for its time";
    marks.push({
      kind: "retry",
      x: place(retry.at),
      note: `retry ×${retry.count}${due}`,
      title: `${name} failed at ${type}, retry ${retry.count}: ${retry.error}`,
    });
  }
  if (deadLetter) {
    marks.push({
      kind: "dead-letter",
      x: place(deadLetter.at),
      note: `dead letter: ${deadLetter.reason}${processedAt === null ? "" : ", redriven"}`,
      title: `${name} gave up on ${type}: ${deadLetter.reason}`,
    });
  }
  if (processedAt !== null) {
    marks.push({ kind: "processed", x: place(processedAt), note: "", title: `${name} processed ${type}` });
  }
  if (duplicate) {
    marks.push({
      kind: "duplicate",
      x: place(duplicate.at),
      note: `duplicate absorbed ×${duplicate.count}`,
      title: `${type} came to ${name} again and was absorbed, ${duplicate.count} times in all`,
    });
  }
  return marks;
}
