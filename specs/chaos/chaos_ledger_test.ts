import { assertEquals } from "@std/assert";
import type { OrderStatus } from "../../shared/order_status.ts";
import { balance, type Books } from "./chaos_ledger.ts";
import type { Course } from "./load.ts";

const accepted = new Map<string, Course>([["a", "success"], ["b", "paymentFailure"], [
  "c",
  "enrollmentFailure",
]]);
const ended = new Map<string, OrderStatus>([["a", "COMPLETED"], ["b", "PAYMENT_FAILED"], ["c", "REFUNDED"]]);
const atRest = { unpublished: 0, unprocessed: 0, malformed: 0 };

/** The ledger of a run in which all went well but for what is given. */
function ledger(
  { orders = ended, beyondOne = {}, answeredTwice = 0, unsettled = {} }:
    & Partial<Books>
    & { answeredTwice?: number; unsettled?: Partial<typeof atRest> },
) {
  const { lost, duplicated, stuck, wrong } = balance({ accepted, answeredTwice }, { orders, beyondOne }, {
    ...atRest,
    ...unsettled,
  });
  return { lost, duplicated, stuck, wrong };
}

const clean = { lost: 0, duplicated: 0, stuck: 0, wrong: 0 };

Deno.test("balance() finds nothing where every order ended as its course says", () => {
  assertEquals(ledger({}), clean);
});

Deno.test("balance() counts an accepted order that is not there as lost", () => {
  assertEquals(ledger({ orders: new Map([...ended].slice(1)) }), { ...clean, lost: 1 });
});

Deno.test("balance() counts what has not arrived as lost", () => {
  const unsettled = { unpublished: 1, unprocessed: 2, malformed: 4 };
  assertEquals(ledger({ unsettled }), { ...clean, lost: 7 });
});

Deno.test("balance() counts an order that nobody was told of, and one that two were, as duplicated", () => {
  assertEquals(ledger({ orders: new Map([...ended, ["d", "COMPLETED"]]) }), { ...clean, duplicated: 1 });
  assertEquals(ledger({ answeredTwice: 1 }), { ...clean, duplicated: 1 });
});

Deno.test("balance() counts rows beyond one as duplicated", () => {
  assertEquals(ledger({ beyondOne: { payments: 1, events: 2 } }), { ...clean, duplicated: 3 });
});

Deno.test("balance() counts an order without an end as stuck, and another end than the course's as wrong", () => {
  assertEquals(ledger({ orders: new Map([...ended, ["a", "PAID"]]) }), { ...clean, stuck: 1 });
  assertEquals(ledger({ orders: new Map([...ended, ["b", "COMPLETED"]]) }), { ...clean, wrong: 1 });
});
