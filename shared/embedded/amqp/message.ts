import type { Content } from "./frame_writer.ts";
import type { MemoryGauge } from "./memory_gauge.ts";

/** A published message; queues share it, and it never changes apart from its count of references. */
export type Message = Content & {
  readonly exchange: string;
  readonly routingKey: string;
  /** Milliseconds it may wait in a queue, from its `expiration` property. */
  readonly expiration: number | undefined;
  /** How many queue entries hold it; its memory is given back at none. */
  references: number;
};

/** What the objects around a body take: with these figures the process grows by about what is counted. */
const MESSAGE_OVERHEAD_BYTES = 768;
/** And those of its place in each queue, ready or out. */
const ENTRY_OVERHEAD_BYTES = 256;
/** And the buffer of each piece of the body, one per frame it came in. */
const PIECE_OVERHEAD_BYTES = 384;

/** Takes a reference, for a place in a queue; the first one charges the message's own memory as well. */
export function retain(message: Message, memory: MemoryGauge): void {
  memory.charge(ENTRY_OVERHEAD_BYTES + (message.references++ === 0 ? messageBytes(message) : 0));
}

/** Gives a reference back; the last one refunds the message's own memory as well. */
export function release(message: Message, memory: MemoryGauge): void {
  memory.refund(ENTRY_OVERHEAD_BYTES + (--message.references === 0 ? messageBytes(message) : 0));
}

function messageBytes(message: Message): number {
  return MESSAGE_OVERHEAD_BYTES + message.properties.byteLength + message.bodySize +
    message.body.length * PIECE_OVERHEAD_BYTES;
}
