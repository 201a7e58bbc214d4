import { assertEquals } from "@std/assert";
import { write } from "./bytes.ts";
import { createOutgoing } from "./frames.ts";

async function microtasks(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await undefined;
}

Deno.test("createOutgoing sends what is written in one turn in one write, in order", async () => {
  const writes: number[][] = [];
  const socket = { write: (bytes: Uint8Array) => Promise.resolve(writes.push([...bytes]) && bytes.length) };
  const out = createOutgoing(socket, () => {}, () => {});
  for (const byte of [1, 2, 3]) {
    write.octet(out.writer(), byte);
    out.flushSoon();
  }
  assertEquals(out.pendingBytes(), 3);
  await out.drained();
  write.octet(out.writer(), 4);
  out.flushSoon();
  await out.drained();
  assertEquals(writes, [[1, 2, 3], [4]]);
  assertEquals(out.pendingBytes(), 0);
});

Deno.test("createOutgoing leaves nothing behind, whenever a write falls into the end of the one before", async () => {
  for (let gap = 0; gap < 30; gap++) {
    const sent: number[] = [];
    const socket = { write: (bytes: Uint8Array) => Promise.resolve(sent.push(bytes[0] ?? -1) && 1) };
    const out = createOutgoing(socket, () => {}, () => {});
    for (const byte of [1, 2]) {
      write.octet(out.writer(), byte);
      out.flushSoon();
      await microtasks(gap);
    }
    await microtasks(100);
    assertEquals([out.pendingBytes(), sent], [0, [1, 2]], `${gap} turns between writes`);
  }
});

Deno.test("createOutgoing reports a failed socket once, and drops what is written afterwards", async () => {
  let errors = 0;
  const socket = { write: () => Promise.reject(new Error("gone")) };
  const out = createOutgoing(socket, () => {}, () => errors++);
  for (let round = 0; round < 3; round++) {
    write.octet(out.writer(), 1);
    out.flushSoon();
    await out.drained();
  }
  assertEquals([errors, out.pendingBytes()], [1, 0]);
});
