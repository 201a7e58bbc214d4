// How both consumers of the payments module work: they ask the provider first, with no transaction open, and then record
// its answers in one statement. A call may outlive its batch.

import pLimit from "p-limit";
import type { Received } from "../../shared/broker/message.ts";
import type { HandleBatch, Outcome } from "../../shared/broker/settle.ts";
import type { DomainEvent } from "../../shared/events.ts";
import { messageOf, TransientError } from "../../shared/process/errors.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { type Queryable, type Sql, uuids } from "../../shared/sql/connect.ts";
import { type Effect, type Inbox, once, type WritingRows } from "../../shared/sql/inbox.ts";
import type { Decision } from "../consumer.ts";
import type { PaymentProvider } from "./provider.ts";

interface CallOptions {
  /** The most calls at once; the others wait for their turn. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  /** Aborted, calls are given up and nothing is waited for any more: what has no answer goes back to the queue. */
  readonly stop: AbortSignal;
}

export interface PaymentDeps extends CallOptions {
  readonly sql: Sql;
  readonly inbox: Inbox;
  readonly provider: PaymentProvider;
}

/** A payment as the table has it. */
export interface PaymentRow {
  readonly id: string;
  readonly orderId: string;
  readonly amount: string;
  readonly status: "SUCCEEDED" | "FAILED" | "REFUND_SUCCEEDED";
  /** Of the charge; null if and only if the provider refused. */
  readonly providerReference: string | null;
}

/** The payments of the orders `orderIds`, as many as there are. */
async function findPayments(sql: Queryable, orderIds: readonly string[]): Promise<PaymentRow[]> {
  if (orderIds.length === 0) return [];
  return await sql<PaymentRow[]>`
    select id, order_id as "orderId", amount, status, provider_reference as "providerReference"
    from payments where order_id = any(${uuids(orderIds)}::text::uuid[])`;
}

/** What is to be done about an event: the provider is asked, or nothing is left to ask. */
type Step<Answer, Row> = Ask<Answer, Row> | Extract<Outcome, { kind: "duplicate" | "rejected" }>;

interface Ask<Answer, Row> {
  readonly kind: "ask";
  /** The idempotency key of the call. */
  readonly key: string;
  readonly call: (signal: AbortSignal) => Promise<Answer>;
  /** Decides what the answer means. */
  readonly decide: (answer: Answer) => Decision<Row>;
}

/**
 * Makes the handler of a consumer that asks the provider. `next` decides, from what the table says of the order's payment,
 * what is to be done about each event; `writing` makes the statement that records what came of it. `isLookedUp` says of
 * which events the payment is read: by default of all.
 *
 * All of a batch is asked at once. An event whose answer takes longer is looked at again, and holds up no other. A second
 * event about one key in a batch is a repeat.
 */
export function askProvider<E extends DomainEvent, Answer, Row extends { readonly id: string }>(
  { sql, inbox, ...options }: Omit<PaymentDeps, "provider">,
  { next, writing, isLookedUp = () => true }: {
    readonly next: (received: Received<E>, payment?: PaymentRow) => Step<Answer, Row>;
    readonly writing: WritingRows<Row>;
    readonly isLookedUp?: (received: Received<E>) => boolean;
  },
): HandleBatch<E> {
  const calls = createPendingCalls<Answer>(options);
  return async (events) => {
    const payments = await findPayments(sql, events.filter(isLookedUp).map(orderOf));
    const byOrder = new Map(payments.map((payment) => [payment.orderId, payment]));
    const steps = events.map((cause) => ({ cause, step: next(cause, byOrder.get(orderOf(cause))) }));
    const answers = await calls.answers(
      new Map(steps.flatMap(({ step }) => step.kind === "ask" ? [[step.key, step.call]] : [])),
    );
    const effects = new Map<string, Effect<Row> & Decision<Row>>();
    const repeats: string[] = [];
    for (const { cause, step } of steps) {
      const answer = step.kind === "ask" ? answers.get(step.key) : undefined;
      if (step.kind === "ask" && answer?.ok && !effects.has(step.key)) {
        effects.set(step.key, { cause, ...step.decide(answer.value) });
      } else if (step.kind === "duplicate" || answer?.ok) repeats.push(cause.event.eventId);
    }
    const recorded = await once(inbox, [...effects.values()], writing, new Date(), repeats);
    calls.forget(answers.keys());
    return steps.map(({ cause, step }): Outcome => {
      if (step.kind !== "ask") return step;
      const answer = answers.get(step.key);
      if (!answer) return { kind: "waiting" };
      if (!answer.ok) return { kind: "failed", error: answer.error };
      if (!recorded.has(cause.event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: effects.get(step.key)?.note ?? "" };
    });
  };
}

function orderOf({ event }: Received<DomainEvent>): string {
  return event.data.orderId;
}

/** The provider's answer; or why there is none for now; or what else the call met with. */
type Answered<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: string }
  | { readonly ok: false; readonly thrown: unknown };

/** How long a batch waits for answers: most are there by then, and are recorded together. */
const BATCH_WAIT_MS = 100;
/** How long an answer is kept that nobody asks for any more, because its message went to another worker. */
const UNUSED_MS = 60_000;

interface Call<T> {
  readonly done: Promise<void>;
  answer: Answered<T> | null;
  answeredAtMs: number;
}

/** Keeps calls under way, and answers that nobody has used yet. */
function createPendingCalls<T>({ concurrency, timeoutMs, stop }: CallOptions) {
  const limit = pLimit(concurrency);
  const register = new Map<string, Call<T>>();

  function start(make: (signal: AbortSignal) => Promise<T>): Call<T> {
    const settle = (answer: Answered<T>) => {
      if (stop.aborted) return; // its time-out was cut short
      call.answer = answer;
      call.answeredAtMs = performance.now();
    };
    const done = limit(() => callBounded(make, timeoutMs, stop)).then(settle);
    const call: Call<T> = { done, answer: null, answeredAtMs: Infinity };
    return call;
  }

  return {
    /**
     * Makes each of `calls` unless one with its key is under way or has its answer already; resolves with the answers that
     * are there after a moment, at once when all are. The other calls go on: ask again. What may pass (a `TransientError`,
     * the time-out) is an answer as well, so that one slow call does not fail its batch.
     *
     * Errors: what else a call rejected with.
     */
    async answers(calls: ReadonlyMap<string, (signal: AbortSignal) => Promise<T>>) {
      const unusedBeforeMs = performance.now() - UNUSED_MS;
      for (const [key, call] of register) if (call.answeredAtMs < unusedBeforeMs) register.delete(key);
      const asked = [...calls].map(([key, make]) => {
        const call = register.get(key) ?? start(make);
        register.set(key, call);
        return { key, call };
      });
      await withTimeout(BATCH_WAIT_MS, Promise.all(asked.map(({ call }) => call.done)));
      const found = new Map<string, Exclude<Answered<T>, { readonly thrown: unknown }>>();
      for (const { key, call: { answer } } of asked) {
        if (answer && "thrown" in answer) {
          register.delete(key);
          throw answer.thrown;
        }
        if (answer) found.set(key, answer);
      }
      return found;
    },
    /** Forgets answers that have been used: the next call with that key is a new one. */
    forget(keys: Iterable<string>): void {
      for (const key of keys) register.delete(key);
    },
  };
}

/** Calls with a time-out, or until `stop` is aborted. Never rejects. */
async function callBounded<T>(
  call: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  stop: AbortSignal,
): Promise<Answered<T>> {
  // Neither AbortSignal.timeout(), which lives on until its time is up, so that thousands of them in a second fill the
  // heap, nor AbortSignal.any(): a charge at rest took 0.32 ms with them, and takes 0.22.
  const ending = new AbortController();
  const end = () => ending.abort();
  const timer = setTimeout(end, timeoutMs);
  stop.addEventListener("abort", end, { once: true });
  if (stop.aborted) end();
  try {
    return { ok: true, value: await call(ending.signal) };
  } catch (thrown) {
    if (ending.signal.aborted) {
      return { ok: false, error: `the payment provider did not answer within ${timeoutMs} ms` };
    }
    return thrown instanceof TransientError ? { ok: false, error: messageOf(thrown) } : { ok: false, thrown };
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", end);
  }
}
