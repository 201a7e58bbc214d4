// Places orders: many in one statement, each `Idempotency-Key`'s order once
// (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).

import { createHash } from "node:crypto";
import { setImmediate } from "node:timers";
import { v7 as uuidv7 } from "uuid";
import type { Cause } from "../shared/broker/message.ts";
import { makeEvent } from "../shared/events.ts";
import { bisect, kindOfError, messageOf, TransientError } from "../shared/process/errors.ts";
import { type Logger, ONE_BY_ONE } from "../shared/process/log.ts";
import { failSpan, linksTo, startRootSpan, traceIdOf, type Tracer } from "../shared/process/tracing.ts";
import type { Sql } from "../shared/sql/connect.ts";
import {
  findUsedKeys,
  insertOrders,
  type NewOrder,
  type OrderRow,
  type Placement,
  type UsedKey,
} from "../shared/sql/orders.ts";
import type { WakeUps } from "../shared/sql/outbox.ts";
import { HttpProblem, unavailable } from "./http.ts";

/** What an order is asked for with: ids in lower case, the amount a decimal string of two places. */
export type OrderRequest = Pick<NewOrder, "userId" | "courseId" | "amount">;

/** An order as it was when it was placed, whatever has become of it since. */
export type PlacedOrder = OrderRow & {
  /** Whether an earlier request with the same idempotency key has placed it. */
  readonly isReplay: boolean;
};

/**
 * Places one order; resolves when it is committed, together with its `order.created`. With an idempotency key, of 1 to
 * 255 visible ASCII characters, only the first such request does: the others get its order, once that is committed.
 *
 * Errors: a 422 where the key has placed an order for another request, a 503 when too many orders wait, and whatever the
 * database says of this one order.
 */
export type PlaceOrder = (
  request: OrderRequest,
  cause: Cause,
  idempotencyKey?: string,
) => Promise<PlacedOrder>;

/** Orders in one statement at most: enough to amortise a commit, small enough to keep it short. */
const MAX_GROUP = 256;
/** Groups under way at once: one is built while the other commits. */
const MAX_GROUPS = 2;
/** Orders that may wait for a group. More than this cannot be served in time, and is told so. */
const MAX_WAITING = 10_000;
/**
 * And how long one may wait, in milliseconds. A database that is silent holds the groups under way for 12 s, and who waits
 * behind them is to have an answer within 15.
 */
const MAX_WAIT_MS = 5000;

type Waiting = Placement & { readonly sinceMs: number; readonly answer: PromiseWithResolvers<PlacedOrder> };
type Answers = readonly PromiseSettledResult<PlacedOrder>[];

/**
 * Makes a `PlaceOrder` that puts concurrent requests into one statement: those of one turn of the event loop, and those
 * that arrive while earlier groups commit. No request waits for a timer, and a bad order fails alone. The log hears of a
 * group, `onCreated` of how many orders it has created, and `tracer` of its span, when its answers are on their way.
 */
export function createOrderPlacer(
  sql: Sql,
  wakeUps: WakeUps,
  log: Logger,
  onCreated: (orders: number) => void = () => {},
  tracer: Tracer | null = null,
): PlaceOrder {
  const waiting: Waiting[] = [];
  let groups = 0;
  let scheduled = false;

  function schedule(): void {
    if (scheduled || groups >= MAX_GROUPS || waiting.length === 0) return;
    scheduled = true;
    // After the I/O of this turn: requests that were read together are inserted together. A timer would cost 1 ms more.
    setImmediate(() => {
      scheduled = false;
      refuseLate();
      if (waiting.length === 0) return;
      groups++;
      placeGroup(waiting.splice(0, MAX_GROUP)).finally(() => {
        groups--;
        schedule();
      });
      schedule();
    });
  }

  function refuseLate(): void {
    const oldestMs = performance.now() - MAX_WAIT_MS;
    const inTime = waiting.findIndex(({ sinceMs }) => sinceMs >= oldestMs);
    const late = waiting.splice(0, inTime < 0 ? waiting.length : inTime);
    for (const { answer } of late) answer.reject(tooManyWait());
  }

  async function placeGroup(group: readonly Waiting[]): Promise<void> {
    const startedMs = Date.now();
    const inserted = await bisect(group, (part) => insertOrders(sql, part, wakeUps), isOfOneOrder);
    const repeats = group.filter((_, i) => isRepeat(inserted[i]));
    const used = findUsedKeys(sql, repeats.flatMap(({ key }) => key ? [key.key] : []));
    for (const [i, placement] of group.entries()) {
      placement.answer.resolve(answerTo(placement, inserted[i], used));
    }
    const answers = await Promise.allSettled(group.map(({ answer }) => answer.promise));
    // The server writes the answers in the turn after this one, and they are not to wait for the log.
    setImmediate(() => setImmediate(() => tell(group, answers, startedMs)));
  }

  function tell(group: readonly Placement[], answers: Answers, startedMs: number): void {
    const placed = answers.flatMap((answer, i) => {
      const traceId = traceIdOf(group[i]?.created.traceparent ?? null);
      return answer.status === "fulfilled" ? [{ ...answer.value, traceId }] : [];
    });
    const created = placed.filter(({ isReplay }) => !isReplay);
    if (created.length > 0) onCreated(created.length);
    logPlaced(log, "Created", created);
    logPlaced(log, "Replayed", placed.filter(({ isReplay }) => isReplay));
    if (tracer) recordSpan(tracer, group, answers, startedMs);
  }

  return async (request, cause, idempotencyKey) => {
    if (waiting.length >= MAX_WAITING) throw tooManyWait();
    const answer = Promise.withResolvers<PlacedOrder>();
    waiting.push({ ...placementOf(request, cause, idempotencyKey), sinceMs: performance.now(), answer });
    schedule();
    return await answer.promise;
  };
}

const tooManyWait = () => unavailable("Too many orders are waiting to be stored. Try again in a moment.");

/** Not a lock or a time-out: each part of the group would wait for it anew, and its requests with it. */
const isOfOneOrder = (error: unknown) => kindOfError(error) === "permanent";

function placementOf(request: OrderRequest, cause: Cause, idempotencyKey: string | undefined): Placement {
  const createdAt = new Date();
  const order: NewOrder = { id: uuidv7(), ...request, correlationId: cause.correlationId, createdAt };
  const { id: orderId, userId, courseId, amount } = order;
  const created = makeEvent("order.created", { orderId, userId, courseId, amount }, cause, createdAt);
  if (idempotencyKey === undefined) return { order, created, key: null };
  // The values of the validated request: how its JSON was written makes no difference.
  const fingerprint = createHash("sha256").update(JSON.stringify([userId, courseId, amount])).digest("hex");
  return { order, created, key: { key: idempotencyKey, fingerprint } };
}

function isRepeat(inserted: PromiseSettledResult<boolean> | undefined): boolean {
  return inserted?.status === "fulfilled" && !inserted.value;
}

async function answerTo(
  { order, key }: Placement,
  inserted: PromiseSettledResult<boolean> | undefined,
  used: Promise<ReadonlyMap<string, UsedKey>>,
): Promise<PlacedOrder> {
  if (inserted?.status !== "fulfilled") throw inserted?.reason;
  if (inserted.value) return asPlaced(order, false);
  const first = key ? (await used).get(key.key) : undefined;
  if (!first) throw new TransientError("an Idempotency-Key was deleted, for its age, while it was asked for");
  if (first.fingerprint === key?.fingerprint) return asPlaced(first.order, true);
  throw new HttpProblem(
    422,
    "This Idempotency-Key came before with another body. Send that body again, or this one with a new key.",
  );
}

function asPlaced(order: NewOrder, isReplay: boolean): PlacedOrder {
  return { ...order, status: "PENDING", updatedAt: order.createdAt, isReplay };
}

/** A few orders have a line each; more at once mean load, and are summed up. */
function logPlaced(
  log: Logger,
  did: "Created" | "Replayed",
  orders: readonly (PlacedOrder & { readonly traceId: string | null })[],
): void {
  if (orders.length > ONE_BY_ONE) return log.info(`${did} orders`, { orders: orders.length });
  for (const { id: orderId, courseId, amount, correlationId, traceId } of orders) {
    log.info(did, { orderId, correlationId, traceId, courseId, amount });
  }
}

/** A span in a trace of its own: a group works for many requests, and belongs to none. Links lead to all of them. */
function recordSpan(
  tracer: Tracer,
  group: readonly Placement[],
  answers: Answers,
  startedMs: number,
): void {
  const span = startRootSpan(tracer, "place orders", {
    startTime: startedMs,
    attributes: { "orderflow.orders": group.length },
    links: linksTo(group.map(({ created }) => created.traceparent)),
  });
  const failed = answers.find((answer) =>
    answer.status === "rejected" && !(answer.reason instanceof HttpProblem)
  );
  if (failed?.status === "rejected") failSpan(span, kindOfError(failed.reason), messageOf(failed.reason));
  span.end();
}
