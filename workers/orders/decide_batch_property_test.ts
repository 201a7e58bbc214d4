import type { ReceivedEvent } from "../../shared/events.ts";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { isFinal, type OrderStatus, type OrderTrigger } from "../../shared/order_status.ts";
import { received } from "../../specs/support/test_events.ts";
import { decideBatch } from "./move_orders.ts";

type Received = ReceivedEvent<OrderTrigger>;

/** The ways that an order can go, written down apart from the table: its events, and the statuses it goes through. */
const STORIES: Record<string, { readonly events: readonly OrderTrigger[]; readonly path: OrderStatus[] }> = {
  success: {
    events: ["payment.succeeded", "enrollment.granted"],
    path: ["PENDING", "PAID", "COMPLETED"],
  },
  declined: { events: ["payment.failed"], path: ["PENDING", "PAYMENT_FAILED"] },
  "no seat": {
    events: ["payment.succeeded", "enrollment.failed", "refund.succeeded"],
    path: ["PENDING", "PAID", "REFUND_IN_PROGRESS", "REFUNDED"],
  },
};

const other = "00000000-0000-0000-0000-000000000103";
const reason = "no seat left";
const EVENTS: Readonly<Record<OrderTrigger, (orderId: string) => Received>> = {
  "payment.succeeded": (orderId) =>
    received("payment.succeeded", { orderId, paymentId: other, courseId: other, amount: "1.00" }),
  "payment.failed": (orderId) => received("payment.failed", { orderId, paymentId: other, reason }),
  "enrollment.granted": (orderId) =>
    received("enrollment.granted", { orderId, enrollmentId: other, courseId: other }),
  "enrollment.failed": (orderId) => received("enrollment.failed", { orderId, courseId: other, reason }),
  "refund.succeeded": (orderId) => received("refund.succeeded", { orderId, paymentId: other }),
};

const now = new Date("2026-01-02T03:04:05Z");
const idOf = (n: number) => `00000000-0000-0000-0000-${String(n).padStart(12, "0")}`;

Deno.test("decideBatch() ends every order as its story says, however its events are mixed, repeated and delayed", () => {
  const stories = fc.array(fc.constantFrom(...Object.keys(STORIES)), { minLength: 1, maxLength: 6 });
  const twins = fc.array(fc.nat(), { maxLength: 6 });
  const batches = fc.array(fc.array(fc.nat(), { minLength: 1, maxLength: 10 }), { maxLength: 12 });
  fc.assert(fc.property(stories, twins, batches, (names, twins, batches) => {
    const orders = names.map((name, i) => ({ id: idOf(i), ...storyOf(name) }));
    const once = orders.flatMap(({ id, events }) => events.map((type) => EVENTS[type](id)));
    // Another event of the same type: the same fact with an id of its own.
    const again = twins.map((n) => pick(once, n).event).map(({ type, data }) => EVENTS[type](data.orderId));
    const all = [...once, ...again];
    const statuses = new Map<string, OrderStatus>(orders.map(({ id }) => [id, "PENDING"]));
    const refunds: string[] = [];
    const settled = new Set<string>();

    function deliver(batch: readonly Received[]): void {
      const { outcomes, settled: ended, changes, outgoing } = decideBatch(batch, statuses, now);
      const ids = ended.map(({ eventId }) => eventId);
      assertEquals(outcomes.filter(({ kind }) => kind === "rejected"), []);
      assertEquals(
        ids,
        batch.filter((_, i) => outcomes[i]?.kind !== "early").map(({ event }) => event.eventId),
        "the inbox must remember all but the early ones",
      );
      for (const id of ids) settled.add(id);
      for (const { id, from, to } of changes) {
        const path = orders.find((order) => order.id === id)?.path ?? [];
        assertEquals(from, statuses.get(id), "decided on another status than the order had");
        assert(path.indexOf(to) > path.indexOf(from), `${from} → ${to} is not on ${path.join(" → ")}`);
        statuses.set(id, to);
      }
      refunds.push(...outgoing.map(({ event, rowId }) => `${event.type} ${rowId}`));
    }

    // A batch holds what was settled before as well: repeats. Within a batch an event stands once.
    for (const picks of batches) deliver([...new Set(picks.map((n) => pick(all, n)))]);
    const waiting = () => all.filter(({ event }) => !settled.has(event.eventId));
    // Each round brings each order a status further at least, and no story has more than three.
    for (let round = 0; round < 3 && waiting().length > 0; round++) deliver(waiting().toReversed());
    assertEquals(waiting(), []);
    for (const { id, path } of orders) {
      const status = statuses.get(id);
      assertEquals(status, path.at(-1));
      assert(status && isFinal(status));
    }
    const refunded = orders.filter(({ path }) => path.includes("REFUNDED"));
    assertEquals(refunds.toSorted(), refunded.map(({ id }) => `refund.requested ${id}`));

    const end = [[...statuses], [...refunds]];
    deliver(all);
    assertEquals([[...statuses], refunds], end, "a repeat of everything must change nothing");
  }));
});

function storyOf(name: string) {
  const story = STORIES[name];
  assert(story);
  return story;
}

function pick<T>(from: readonly T[], n: number): T {
  const picked = from[n % from.length];
  assert(picked);
  return picked;
}
