// What each role runs: every function of `shared/sql` that its processes call, on arguments that match nothing.

import { v7 as uuidv7 } from "uuid";
import { insertOperation, listOperations } from "../../../api/ops/operations.ts";
import {
  newHeartbeat,
  newLetter,
  newRetry,
  orderCreated,
  paymentSucceeded,
  received,
} from "../../../specs/support/test_events.ts";
import { testInbox } from "../../../specs/support/test_schema.ts";
import { enroll } from "../../../workers/enrollments_payment_succeeded.ts";
import { notify } from "../../../workers/notifications_final_events.ts";
import { moveEach } from "../../../workers/orders/move_orders.ts";
import { createFakeProvider } from "../../../workers/payments/provider.ts";
import { charge } from "../../../workers/payments_order_created.ts";
import { refund } from "../../../workers/payments_refund_requested.ts";
import { prune } from "../../../workers/relay/retention.ts";
import { bindingsOf } from "../../broker/connection.ts";
import { tell } from "../../events.ts";
import { runAudit } from "../../ops/audit.ts";
import * as letters from "../../ops/dead_letters.ts";
import * as faults from "../../ops/faults.ts";
import * as holds from "../../ops/holds.ts";
import * as lists from "../../ops/lists.ts";
import * as replays from "../../ops/replays.ts";
import * as sending from "../../ops/send_again.ts";
import { readFacts } from "../../ops/timeline.ts";
import { readOpenCopies } from "../../ops/why.ts";
import { beat, forgetHeartbeat, listHeartbeats } from "../../process/heartbeat.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../process/config.ts";
import type { Sql } from "../connect.ts";
import { insertIncidents } from "../event_history.ts";
import { once, ownConsumer, type WritingRows } from "../inbox.ts";
import * as lost from "../lost_events.ts";
import type { DatabaseRole } from "../migrate.ts";
import * as orders from "../orders.ts";
import * as outbox from "../outbox.ts";
import * as aside from "../set_aside.ts";

/** Statements, each to be run on a pool of its role. */
export type Statements = readonly ((sql: Sql) => PromiseLike<unknown>)[];

const NOW = new Date("2026-01-01T00:00:00Z");
const NIL = "00000000-0000-0000-0000-000000000000";
const BODY = new TextEncoder().encode("{}");
const LIMIT = { limit: 1 } as const;
const ENDED = {
  state: "DONE",
  sent: 0,
  skipped: 0,
  retryCount: 0,
  error: null,
  reason: null,
  dueInMs: null,
} as const;
const FAULT = {
  point: "provider.slow",
  times: 1,
  consumer: null,
  correlationId: null,
  delayMs: null,
} as const;
const TOPOLOGY = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
const BINDINGS = bindingsOf(TOPOLOGY);

/** Functions that take the same argument. */
function eachOn<A>(
  argument: A,
  ...run: readonly ((sql: Sql, argument: A) => PromiseLike<unknown>)[]
): Statements {
  return run.map((one) => (sql) => one(sql, argument));
}

/** What every process but retention's runs. */
const PROCESS: Statements = [
  (sql) => sql`select name from schema_migrations`, // as migrate() does
  faults.listArmedFaults,
  ...eachOn("a", holds.takeStep, holds.returnStep),
  (sql) => faults.takeFault(sql, "provider.slow", { consumers: ["a"], correlationIds: ["c"] }),
  (sql) => holds.readHeld(sql, ["a"]),
  (sql) => beat(sql, newHeartbeat()),
  (sql) => forgetHeartbeat(sql, NIL),
];

/** What every consumer runs, whatever its module. */
const CONSUMER: Statements = [
  ...PROCESS,
  (sql) => outbox.insertingEvents(sql, []),
  (sql) => aside.insertDeadLetters(sql, [newLetter("a")]),
  (sql) => insertIncidents(sql, "a", [{ eventId: NIL, kind: "duplicate", at: NOW }]),
  (sql) => aside.insertRetries(sql, [newRetry("a")]),
  (sql) => ownConsumer(sql, uuidv7()),
  (sql) => aside.createSetAside(sql, "a").countSuspect(BODY),
  (sql) => aside.createSetAside(sql, "a").uncountSuspect(BODY),
  (sql) => aside.createSetAside(sql, "a").clearSuspect(BODY),
];

const ORDERS: Statements = [
  ...CONSUMER,
  async (sql) => {
    const { event, traceparent } = orderCreated();
    const { orderId: id, ...data } = event.data;
    const order = { ...data, id, correlationId: "c", createdAt: NOW };
    const key = { key: crypto.randomUUID(), fingerprint: "00".repeat(32) };
    const created = { event, aggregateId: id, traceparent };
    await orders.insertOrders(sql, [{ order, created, key }], outbox.createWakeUps());
    const handle = moveEach({ sql, inbox: testInbox(sql, "a"), registry: null });
    for (const event of [paymentSucceeded(id), paymentSucceeded(id)]) await handle([event]); // a move, and a repeat
  },
  (sql) => orders.findUsedKeys(sql, ["k"]),
];

const PAYMENTS: Statements = [...CONSUMER, async (sql) => {
  const { signal: stop } = new AbortController();
  const provider = createFakeProvider({ latencyMs: 0 });
  const deps = { sql, inbox: testInbox(sql, "a"), provider, concurrency: 1, timeoutMs: 1000, stop };
  const order = orderCreated();
  await charge(deps)([{ ...order, mayBeRepeat: true }]);
  const { orderId } = order.event.data;
  await refund(deps)([received("refund.requested", { orderId, reason: "r" })]);
}];

const ENROLLMENTS: Statements = [
  ...CONSUMER,
  (sql) => enroll({ inbox: testInbox(sql, "a") })([paymentSucceeded()]),
];

const NOTIFICATIONS: Statements = [...CONSUMER, (sql) => {
  const { orderId, paymentId } = paymentSucceeded().event.data;
  return notify({ inbox: testInbox(sql, "a") })([received("refund.succeeded", { orderId, paymentId })]);
}];

/** What the relay runs, and ops: letters and sets that are sent again. */
const SENDING: Statements = [
  (sql) => letters.claimOpenLetters(sql, [NIL]),
  (sql) => letters.closeLetters(sql, [NIL], "REDRIVEN", "r"),
  (sql) => sending.readWaitingMessages(sql, NIL, 1),
  (sql) => sending.recordReplayProgress(sql, NIL, [], ENDED),
];

const RELAY: Statements = [
  ...PROCESS,
  ...SENDING,
  ...[lost.countLost, aside.readNextDue, sending.nextReplayDueInMs, sending.claimDueReplay],
  (sql) => outbox.claimingEvents(sql, 1),
  (sql) => outbox.readEventsForPublishing(sql, [NIL]),
  (sql) => outbox.markingPublished(sql, [NIL]),
  (sql) => outbox.markingRefused(sql, [{ id: NIL, error: "e", retryInMs: 1 }]),
  (sql) => lost.insertCursors(sql, BINDINGS, 0),
  (sql) => lost.sweepSendings(sql, BINDINGS, "infinity", 1),
  (sql) => lost.forgetFound(sql, "a"),
  (sql) => lost.findUnsent(sql, "a", "infinity"),
  (sql) => lost.markSentAgain(sql, "a", [NIL], NOW),
  (sql) => aside.claimDueRetries(sql, 1),
  (sql) => aside.markRetriesSent(sql, [{ consumer: "a", eventId: NIL }]),
  (sql) => aside.postponeRetries(sql, [{ consumer: "a", eventId: NIL }], 1),
  (sql) => holds.findHeldConsumers(sql, ["a"], 1),
];

const OPS: Statements = [
  ...SENDING,
  ...[lists.countUnpublished, aside.countWaitingRetries, letters.countOpenDeadLetters],
  ...[faults.listArmedFaults, holds.listHolds, listHeartbeats],
  ...eachOn(NIL, orders.findOrder, lists.findEvent, lists.hurryEvent, letters.findDeadLetter),
  ...eachOn(NIL, sending.takeUpLetters, replays.readOutcome, replays.findReplay, faults.disarmFault),
  ...eachOn(LIMIT, orders.listOrders, lists.searchOrders, lists.listEvents, lists.listProcessed),
  ...eachOn(LIMIT, letters.listDeadLetters, replays.listReplays),
  (sql) => listOperations(sql, 1),
  ...eachOn("a", holds.grantStep, holds.resumePart),
  (sql) => sql`select name from schema_migrations`,
  (sql) => lists.readLatencies(sql, 1),
  (sql) => lists.listMessages(sql, { bindings: [] }, LIMIT),
  (sql) => lists.countMessages(sql, { bindings: [] }),
  (sql) => readFacts(sql, [NIL]),
  (sql) => readOpenCopies(sql, NIL, BINDINGS),
  (sql) => letters.keepEdit(sql, NIL, "{}"),
  (sql) => letters.groupLetters(sql, {}),
  (sql) => replays.prepareLetters(sql, {}),
  (sql) => replays.discardSet(sql, NIL, "r"),
  (sql) => replays.prepareReplay(sql, { orderId: NIL }, BINDINGS, NOW),
  (sql) => replays.republishEvent(sql, NIL, BINDINGS),
  (sql) => replays.listReplayEvents(sql, NIL, { ...LIMIT, after: 0 }),
  (sql) => replays.startReplay(sql, NIL, 1),
  (sql) => replays.cancelReplay(sql, NIL, "r"),
  (sql) => faults.armFaults(sql, [FAULT], NOW),
  (sql) => faults.armFaults(sql, [FAULT], NOW, { replacing: true }),
  (sql) => insertOperation(sql, { action: "a", subject: {}, source: "s", because: null }),
  (sql) => holds.holdPart(sql, { part: "a", forSeconds: 1, because: null }),
  (sql) => runAudit(sql, TOPOLOGY, { graceSeconds: 0 }),
];

/** What a module runs whose statements are not listed: it records a row in its table, of which there is none. */
function ownTable(module: string): Statements {
  const writing: WritingRows<{ id: string }> = (sql) =>
    sql`insert into ${sql(module)} select * from ${sql(module)} where false returning id`;
  return [...CONSUMER, (sql) => {
    const cause = orderCreated();
    const tells = tell("order.created", cause.event.data);
    return once(testInbox(sql, "a"), [{ cause, row: { id: uuidv7() }, tells }], writing, NOW);
  }];
}

const RETENTION: Statements = [
  (sql) => sql`select name from schema_migrations`,
  (sql) => prune(sql, { before: NOW, bindings: BINDINGS, limit: 1 }),
];

const LISTED: Partial<Record<DatabaseRole, Statements>> = {
  orderflow_orders: ORDERS,
  orderflow_payments: PAYMENTS,
  orderflow_enrollments: ENROLLMENTS,
  orderflow_notifications: NOTIFICATIONS,
  orderflow_relay: RELAY,
  orderflow_ops: OPS,
  orderflow_retention: RETENTION,
};

/** What a role runs. */
export function statementsOf(role: DatabaseRole): Statements {
  return LISTED[role] ?? ownTable(role.replace("orderflow_", ""));
}
