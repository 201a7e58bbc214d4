import { type ByteWriter, byteWriter, writtenBytes } from "./bytes.ts";

/** What goes out to one peer: everything written in one turn of the event loop leaves in one write to the socket. */
export type Outgoing = {
  /** The buffer to write to; after writing, call `flushSoon`. */
  writer(): ByteWriter;
  /** Sends what has been written once the running code is done, or after the write already under way. */
  flushSoon(): void;
  /** Bytes written but not yet taken by the socket. */
  pendingBytes(): number;
  /** How often the socket has taken bytes: a peer that reads nothing stops this. */
  progress(): number;
  /** Resolves once nothing is pending, or the socket has failed. */
  drained(): Promise<void>;
};

/** What the buffer may keep between bursts. */
const KEPT_BYTES = 256 * 1024;

/**
 * Buffers for `socket`. `onDrain` is called after each write the socket took, `onError` once should it fail; after that
 * everything written is dropped.
 */
export function createOutgoing(
  socket: { write(bytes: Uint8Array): Promise<number> },
  onDrain: () => void,
  onError: () => void,
): Outgoing {
  let filling = byteWriter(1024);
  let spare = byteWriter(1024);
  let inFlight = 0;
  let progress = 0;
  let flushing: Promise<void> | undefined;
  let failed = false;

  async function flush(): Promise<void> {
    await undefined; // let the code that writes now finish first
    try {
      while (filling.at > 0 && !failed) await sendFilled();
    } catch {
      failed = true;
      inFlight = 0;
      filling.at = 0;
      onError();
    }
    flushing = undefined; // at once after the last look at what is pending, or a write in between would be left
  }

  async function sendFilled(): Promise<void> {
    const sending = filling;
    filling = spare;
    inFlight = sending.at;
    const bytes = writtenBytes(sending);
    for (let sent = 0; sent < bytes.byteLength;) {
      const count = await socket.write(sent === 0 ? bytes : bytes.subarray(sent));
      sent += count;
      inFlight -= count;
      progress++;
    }
    spare = sending.bytes.byteLength > KEPT_BYTES ? byteWriter(1024) : sending;
    spare.at = 0;
    onDrain();
  }

  return {
    writer: () => filling,
    flushSoon() {
      if (failed) filling.at = 0;
      else flushing ??= flush();
    },
    pendingBytes: () => filling.at + inFlight,
    progress: () => progress,
    drained: () => flushing ?? Promise.resolve(),
  };
}
