/**
 * What each role runs: every function of `shared/sql` that its processes call, on arguments that match nothing.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { bindingsOf } from "../../broker/connection.ts";
import type { Topology } from "../../topology.ts";
import { type EventData, makeEvent, tell } from "../../events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../scenarios.ts";
import { runAudit } from "../../ops/audit.ts";
import { atomicallyOn, type Sql } from "../connect.ts";
import {
  claimOpenLetters,
  closeLetters,
  countOpenDeadLetters,
  findDeadLetter,
  groupLetters,
  keepEdit,
  listDeadLetters,
} from "../../ops/dead_letters.ts";
import {
  claimDueRetries,
  countWaitingRetries,
  createSetAside,
  insertDeadLetters,
  insertRetries,
  markRetriesSent,
  postponeRetries,
  readNextDue,
} from "../set_aside.ts";
import { insertingEnrollments } from "../../../workers/enrollments_payment_succeeded.ts";
import { armFaults, disarmFault, listArmedFaults, takeFault } from "../../ops/faults.ts";
import {
  findHeldConsumers,
  grantStep,
  holdPart,
  listHolds,
  readHeld,
  resumePart,
  returnStep,
  takeStep,
} from "../../ops/holds.ts";
import { beat, forgetHeartbeat, listHeartbeats } from "../../process/heartbeat.ts";
import {
  findOrder,
  findUsedKeys,
  insertingOrders,
  insertOrders,
  listOrders,
  moveOrders,
  readStatuses,
} from "../orders.ts";
import {
  countLost,
  findUnsent,
  forgetFound,
  insertCursors,
  markSentAgain,
  sweepSendings,
} from "../lost_events.ts";
import type { DatabaseRole } from "../migrate.ts";
import { insertingNotifications } from "../../../workers/notifications_final_events.ts";
import {
  countMessages,
  countUnpublished,
  findEvent,
  hurryEvent,
  listEvents,
  listMessages,
  listProcessed,
  readLatencies,
  searchOrders,
} from "../../ops/lists.ts";
import {
  claimingEvents,
  createWakeUps,
  insertingEvents,
  markingPublished,
  markingRefused,
  readEventsForPublishing,
} from "../outbox.ts";
import { findPayments, insertingPayments, markingRefunded } from "../payments.ts";
import { type Inbox, once, ownConsumer, type WritingRows } from "../inbox.ts";
import {
  cancelReplay,
  claimDueReplay,
  discardSet,
  findReplay,
  listReplayEvents,
  listReplays,
  nextReplayDueInMs,
  prepareLetters,
  prepareReplay,
  readOutcome,
  readWaitingMessages,
  recordReplayProgress,
  republishEvent,
  startReplay,
  takeUpLetters,
} from "../../ops/replays.ts";
import { insertOperation, listOperations } from "../../../api/ops/operations.ts";
import { prune } from "../../../workers/relay/retention.ts";
import { readFacts } from "../../ops/timeline.ts";
import { insertIncidents } from "../event_history.ts";
import { readOpenCopies } from "../../ops/why.ts";

/** Statements by the name of the function that has them, each to be run on a pool of its role. */
export type Statements = Readonly<Record<string, (sql: Sql) => Promise<unknown>>>;

const NOW = new Date("2026-01-01T00:00:00Z");
const NIL = "00000000-0000-0000-0000-000000000000";
const BODY = new TextEncoder().encode("{}");
const CAUSE = { correlationId: "c", traceparent: null };
const order = (): EventData<"order.created"> => ({
  orderId: uuidv7(),
  userId: SCENARIO_USER,
  courseId: RESERVED_COURSES.success,
  amount: "1.00",
});
const told = () => makeEvent("order.created", order(), CAUSE, NOW);
const fault = {
  point: "provider.slow",
  times: 1,
  consumer: null,
  correlationId: null,
  delayMs: null,
} as const;
const ENDED = { state: "DONE", sent: 0, skipped: 0, retryCount: 0, error: null } as const;
const target = { consumers: ["a"], correlationIds: ["c"] };

/** A statement of `once` whose row is written, with what is told of it: an event of `type`, whatever its data. */
function record<Row extends { readonly id: string }>(type: string, writing: WritingRows<Row>, row: Row) {
  const tells = { ...tell("order.created", order()), type };
  return (sql: Sql) => once(inboxOn(sql), [{ cause: told(), row, tells }], writing, NOW);
}

const inboxOn = (sql: Sql): Inbox => ({
  consumer: "a",
  atomically: atomicallyOn(sql),
  wakeUps: createWakeUps(),
});

const FAULTS: Statements = {
  listArmedFaults: (sql) => listArmedFaults(sql),
  takeFault: (sql) => takeFault(sql, "provider.slow", target),
};

const HOLDS: Statements = {
  readHeld: (sql) => readHeld(sql, ["a"]),
  takeStep: (sql) => takeStep(sql, "a"),
  returnStep: (sql) => returnStep(sql, "a"),
};

const HEARTBEATS: Statements = {
  beat: (sql) =>
    beat(sql, {
      instance: uuidv7(),
      process: "test",
      pid: 1,
      version: "2",
      startedAt: NOW,
      lastBatchAt: null,
      clockAheadMs: null,
      counts: {},
    }),
  forgetHeartbeat: (sql) => forgetHeartbeat(sql, NIL),
};

/** What `migrate` asks at the start of every process. */
const MIGRATED: Statements = { migrate: async (sql) => await sql`select name from schema_migrations` };

/** What every consumer runs, whatever its module. */
const CONSUMER: Statements = {
  insertingEvents: async (sql) => await insertingEvents(sql, []),
  insertDeadLetters: (sql) =>
    insertDeadLetters(sql, [{
      consumer: "a",
      eventId: null,
      eventType: null,
      aggregateId: null,
      correlationId: null,
      traceparent: null,
      body: BODY,
      reason: "r",
      detail: "d",
      attempts: 1,
    }]),
  insertIncidents: (sql) => insertIncidents(sql, "a", [{ eventId: NIL, kind: "duplicate", at: NOW }]),
  insertRetries: (sql) =>
    insertRetries(sql, [{
      consumer: "a",
      eventId: uuidv7(),
      eventType: "order.created",
      aggregateId: NIL,
      correlationId: "c",
      traceparent: null,
      body: BODY,
      error: "e",
      retries: 1,
      ageMs: 0,
      delayMs: 1,
    }]),
  ownConsumer: (sql) => ownConsumer(sql, uuidv7()),
  countSuspect: (sql) => createSetAside(sql, "a").countSuspect(BODY),
  uncountSuspect: (sql) => createSetAside(sql, "a").uncountSuspect(BODY),
  clearSuspect: (sql) => createSetAside(sql, "a").clearSuspect(BODY),
  ...FAULTS,
  ...HOLDS,
  ...HEARTBEATS,
  ...MIGRATED,
};

const ORDERS: Statements = {
  insertingOrders: async (sql) => await insertingOrders(sql, [newOrder()]),
  readStatuses: (sql) => readStatuses(sql, [NIL]),
  moveOrders: (sql) => {
    const changes = [{ id: NIL, from: "PENDING", to: "PAID" }] as const;
    const settled = [{ eventId: uuidv7(), orderId: NIL }];
    return moveOrders(inboxOn(sql), { changes, settled, outgoing: [told()] }, NOW);
  },
  insertOrders: (sql) => {
    const key = { key: crypto.randomUUID(), fingerprint: "00".repeat(32) };
    return insertOrders(sql, [{ order: newOrder(), created: told(), key }], createWakeUps());
  },
  findUsedKeys: (sql) => findUsedKeys(sql, ["k"]),
  ...CONSUMER,
};

function newOrder() {
  const { orderId: id, ...rest } = order();
  return { id, ...rest, correlationId: "c", createdAt: NOW };
}

const PAYMENTS: Statements = {
  insertingPayments: (sql) =>
    record("payment.succeeded", insertingPayments, {
      id: uuidv7(),
      orderId: uuidv7(),
      courseId: RESERVED_COURSES.success,
      amount: "1.00",
      status: "SUCCEEDED",
      attemptCount: 1,
      providerReference: "p",
      failureReason: null,
    })(sql),
  findPayments: (sql) => findPayments(sql, [NIL]),
  markingRefunded: (sql) =>
    record("refund.succeeded", markingRefunded, { id: NIL, refundReference: "r" })(sql),
  ...CONSUMER,
};

const ENROLLMENTS: Statements = {
  insertingEnrollments: (sql) =>
    record("enrollment.granted", insertingEnrollments, {
      id: uuidv7(),
      orderId: uuidv7(),
      courseId: RESERVED_COURSES.success,
      status: "GRANTED",
      reason: null,
    })(sql),
  ...CONSUMER,
};

const NOTIFICATIONS: Statements = {
  insertingNotifications: (sql) =>
    record("notification.sent", insertingNotifications, {
      id: uuidv7(),
      orderId: uuidv7(),
      type: "ORDER_COMPLETED",
    })(sql),
  ...CONSUMER,
};

const RELAY = (topology: Topology): Statements => ({
  claimingEvents: (sql) => claimingEvents(sql, 1),
  readEventsForPublishing: (sql) => readEventsForPublishing(sql, [NIL]),
  markingPublished: (sql) => markingPublished(sql, [NIL]),
  markingRefused: (sql) => markingRefused(sql, [{ id: NIL, error: "e", retryInMs: 1 }]),
  insertCursors: (sql) => insertCursors(sql, bindingsOf(topology), 0),
  sweepSendings: (sql) => sweepSendings(sql, bindingsOf(topology), "infinity", 1),
  countLost: (sql) => countLost(sql),
  forgetFound: (sql) => forgetFound(sql, "a"),
  findUnsent: (sql) => findUnsent(sql, "a", "infinity"),
  markSentAgain: (sql) => markSentAgain(sql, "a", [NIL], NOW),
  claimDueRetries: (sql) => claimDueRetries(sql, 1),
  markRetriesSent: (sql) => markRetriesSent(sql, [{ consumer: "a", eventId: NIL }]),
  postponeRetries: (sql) => postponeRetries(sql, [{ consumer: "a", eventId: NIL }], 1),
  readNextDue: (sql) => readNextDue(sql),
  nextReplayDueInMs: (sql) => nextReplayDueInMs(sql),
  claimDueReplay: (sql) => claimDueReplay(sql),
  readWaitingMessages: (sql) => readWaitingMessages(sql, NIL, 1),
  claimOpenLetters: (sql) => claimOpenLetters(sql, [NIL]),
  closeLetters: (sql) => closeLetters(sql, [NIL], "REDRIVEN", "r"),
  recordReplayProgress: (sql) => recordReplayProgress(sql, NIL, [], ENDED),
  findHeldConsumers: (sql) => findHeldConsumers(sql, ["a"], 1),
  ...FAULTS,
  ...HOLDS,
  ...HEARTBEATS,
  ...MIGRATED,
});

const OPS = (topology: Topology): Statements => ({
  findOrder: (sql) => findOrder(sql, NIL),
  listOrders: (sql) => listOrders(sql, { limit: 1 }),
  searchOrders: (sql) => searchOrders(sql, { limit: 1 }),
  readLatencies: (sql) => readLatencies(sql, 1),
  listMessages: (sql) => listMessages(sql, { bindings: [] }, { limit: 1 }),
  countMessages: (sql) => countMessages(sql, { bindings: [] }),
  readFacts: (sql) => readFacts(sql, [NIL]),
  readOpenCopies: (sql) => readOpenCopies(sql, NIL, bindingsOf(topology)),
  listEvents: (sql) => listEvents(sql, { limit: 1 }),
  findEvent: (sql) => findEvent(sql, NIL),
  countUnpublished: (sql) => countUnpublished(sql),
  hurryEvent: (sql) => hurryEvent(sql, NIL),
  listProcessed: (sql) => listProcessed(sql, { limit: 1 }),
  countWaitingRetries: (sql) => countWaitingRetries(sql),
  listDeadLetters: (sql) => listDeadLetters(sql, { limit: 1 }),
  findDeadLetter: (sql) => findDeadLetter(sql, NIL),
  countOpenDeadLetters: (sql) => countOpenDeadLetters(sql),
  claimOpenLetters: (sql) => claimOpenLetters(sql, [NIL]),
  closeLetters: (sql) => closeLetters(sql, [NIL], "REDRIVEN", "r"),
  keepEdit: (sql) => keepEdit(sql, NIL, "{}"),
  groupLetters: (sql) => groupLetters(sql, {}),
  prepareLetters: (sql) => prepareLetters(sql, {}),
  takeUpLetters: (sql) => takeUpLetters(sql, NIL),
  discardSet: (sql) => discardSet(sql, NIL, "r"),
  readWaitingMessages: (sql) => readWaitingMessages(sql, NIL, 1),
  recordReplayProgress: (sql) => recordReplayProgress(sql, NIL, [], ENDED),
  readOutcome: (sql) => readOutcome(sql, NIL),
  prepareReplay: (sql) =>
    prepareReplay(sql, { filter: { orderId: NIL }, bindings: bindingsOf(topology), horizon: NOW }),
  republishEvent: (sql) => republishEvent(sql, NIL, bindingsOf(topology)),
  listReplays: (sql) => listReplays(sql, { limit: 1 }),
  findReplay: (sql) => findReplay(sql, NIL),
  listReplayEvents: (sql) => listReplayEvents(sql, NIL, { limit: 1, after: 0 }),
  startReplay: (sql) => startReplay(sql, NIL, 1),
  cancelReplay: (sql) => cancelReplay(sql, NIL, "r"),
  listArmedFaults: (sql) => listArmedFaults(sql),
  armFaults: (sql) => armFaults(sql, [fault], NOW),
  disarmFault: (sql) => disarmFault(sql, NIL),
  replaceFaults: (sql) => armFaults(sql, [fault], NOW, { replacing: true }),
  listOperations: (sql) => listOperations(sql, { limit: 1 }),
  insertOperation: (sql) => insertOperation(sql, { action: "a", subject: {}, source: "s", because: null }),
  listHolds: (sql) => listHolds(sql),
  holdPart: (sql) => holdPart(sql, { part: "a", forSeconds: 1, because: null }),
  grantStep: (sql) => grantStep(sql, "a"),
  resumePart: (sql) => resumePart(sql, "a"),
  listHeartbeats: (sql) => listHeartbeats(sql),
  runAudit: (sql) => runAudit(sql, topology, { graceSeconds: 0 }),
  ...MIGRATED,
});

/** What a module runs whose statements are not listed: it records a row in its table, of which there is none. */
function ownTable(module: string): Statements {
  const writing: WritingRows<{ id: string }> = (sql) =>
    sql`insert into ${sql(module)} select * from ${sql(module)} where false returning id`;
  return { writing: record("any", writing, { id: uuidv7() }), ...CONSUMER };
}

/** What a role runs. */
export function statementsOf(role: DatabaseRole, topology: Topology): Statements {
  const listed: Partial<Record<DatabaseRole, Statements>> = {
    orderflow_orders: ORDERS,
    orderflow_payments: PAYMENTS,
    orderflow_enrollments: ENROLLMENTS,
    orderflow_notifications: NOTIFICATIONS,
    orderflow_relay: RELAY(topology),
    orderflow_ops: OPS(topology),
    orderflow_retention: {
      prune: (sql) => prune(sql, { before: NOW, bindings: bindingsOf(topology), limit: 1 }),
      ...MIGRATED,
    },
  };
  return listed[role] ?? ownTable(role.replace("orderflow_", ""));
}
