import { assert, assertEquals } from "@std/assert";
import { QUEUE_KEYS, QUEUES } from "../../shared/topology.ts";
import { parseEvent } from "../../shared/events.ts";
import { malformedMessages } from "./malformed.ts";

const orders = { completed: null, declined: null };

Deno.test("malformedMessages() are refused by the consumer of their queue for the reason that they say", () => {
  for (const queue of QUEUE_KEYS) {
    for (const { reason, body } of malformedMessages(queue, 14, orders)) {
      const parsed = parseEvent(body);
      if (!parsed.ok) assertEquals(parsed.reason, reason);
      else {
        const isBound = QUEUES[queue].bindings.some((type) => type === parsed.event.type);
        assertEquals(isBound ? "illegal transition" : "unexpected type", reason);
      }
    }
  }
});

Deno.test("malformedMessages() are never the same twice", () => {
  const bodies = QUEUE_KEYS.flatMap((queue) => malformedMessages(queue, 20, orders)).map(({ body }) =>
    body.toBase64()
  );
  assertEquals(new Set(bodies).size, bodies.length);
});

Deno.test("malformedMessages() have the sorts that the queue's consumer can meet", () => {
  for (const queue of QUEUE_KEYS) {
    const reasons = new Set(malformedMessages(queue, 7, orders).map(({ reason }) => reason));
    assert(reasons.size >= 5, `${queue}: ${[...reasons]}`);
    assertEquals(reasons.has("illegal transition"), queue.startsWith("orders"));
  }
});
