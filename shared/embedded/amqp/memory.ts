import type { Message } from "./message.ts";

/** Counts the bytes that messages take, and tells when publishers must wait. */
export type MemoryGauge = {
  /** Bytes charged and not yet given back. */
  used: number;
  /** Whether publishers must wait: from above the limit down to 90 % of it, so that it does not flicker. */
  raised: boolean;
  readonly limit: number;
  /** Told of every raise and clearance. */
  readonly onChange: () => void;
};

const CLEAR_AT = 0.9;

/** What the objects around a body take: with these figures the process grows by about what is counted. */
const MESSAGE_OVERHEAD_BYTES = 768;
/** And those of its place in each queue, ready or out. */
const ENTRY_OVERHEAD_BYTES = 256;
/** And the buffer of each piece of the body, one per frame it came in. */
const PIECE_OVERHEAD_BYTES = 384;

/** Charges bytes, or with a negative number gives them back. */
export function charge(memory: MemoryGauge, bytes: number): void {
  memory.used += bytes;
  const raised = memory.used > memory.limit * (memory.raised ? CLEAR_AT : 1);
  if (raised === memory.raised) return;
  memory.raised = raised;
  memory.onChange();
}

/** Whether twice the limit is in use: publishers that had begun a message before the alarm overdid it. */
export function isExhausted(memory: MemoryGauge): boolean {
  return memory.used > memory.limit * 2;
}

/** Takes a reference for a place in a queue; the first one charges the message's own memory as well. */
export function retain(memory: MemoryGauge, message: Message): void {
  charge(memory, ENTRY_OVERHEAD_BYTES + (message.references++ === 0 ? messageBytes(message) : 0));
}

/** Gives a reference back; the last one gives back the message's own memory as well. */
export function release(memory: MemoryGauge, message: Message): void {
  charge(memory, -ENTRY_OVERHEAD_BYTES - (--message.references === 0 ? messageBytes(message) : 0));
}

function messageBytes({ properties, body, bodySize }: Message): number {
  return MESSAGE_OVERHEAD_BYTES + properties.byteLength + bodySize + body.length * PIECE_OVERHEAD_BYTES;
}
