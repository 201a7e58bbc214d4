import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { createQueue, enqueue, putBack, type QueueEntry, takeNext } from "./queue.ts";

const memory = { used: 0, raised: false, limit: Infinity, onChange() {} };
const flags = { passive: false, durable: false, exclusive: false, autoDelete: false, noWait: false };
const declare = { ticket: 0, queue: "q", ...flags, arguments: new Map() };
const content = { properties: new Uint8Array(2), body: [], bodySize: 0 };
const message = { ...content, exchange: "", routingKey: "q", expiration: undefined, deaths: [] };

Deno.test("what is ready comes in the order it was sent in, whatever was taken and put back in whichever order", () => {
  // A step sends so many, or takes so many where it is negative, then puts back some that were taken.
  const step = fc.record({
    times: fc.integer({ min: -60, max: 60 }),
    back: fc.array(fc.nat(), { maxLength: 20 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
    const queue = createQueue({ memory, onDead() {} }, declare, undefined);
    const model = new Set<number>();
    const out: QueueEntry[] = [];
    for (const { times, back } of steps) {
      for (let time = 0; time < times; time++) {
        model.add(queue.nextPosition);
        enqueue(queue, { ...message, firstDeath: undefined });
      }
      for (let time = times; time < 0 && model.size > 0; time++) {
        const entry = takeNext(queue);
        assertEquals(entry?.position, Math.min(...model));
        if (entry) model.delete(entry.position) && out.push(entry);
      }
      const returned = back.flatMap((index) => out.splice(index % Math.max(out.length, 1), 1));
      for (const { position } of returned) model.add(position);
      putBack(queue, returned);
      assertEquals(queue.ready.length, model.size);
    }
  }));
});
