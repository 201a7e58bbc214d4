/**
 * Replays: what they are asked for with, their frozen set of messages, and how far each is.
 *
 * @module
 */
import { z } from "zod";
import { v7 as uuidv7 } from "uuid";
import { correlationIdSchema, EVENT_TYPES, idSchema } from "../events.ts";
import type { Binding } from "../broker/connection.ts";
import { type Queryable, rowset, type Sql, storableText, transaction } from "../sql/connect.ts";
import { firstIdOf } from "../sql/outbox.ts";
import type { ReplayEventJson, ReplayJson, Row } from "./answers.ts";

/** The most messages per second that a replay may be started with. */
export const MAX_REPLAY_RATE = 5000;

/** The messages per second of a replay that is started without a rate. */
export const DEFAULT_REPLAY_RATE = 200;

/** A point in time: ISO 8601 with an offset, not before 1970. */
export const instantSchema = z.iso.datetime({
  offset: true,
  error: "must be a time such as 2026-11-22T17:15:43Z",
})
  .refine((text) => Date.parse(text) >= 0, { error: "must not be before 1970" });

const filterFields = z.strictObject({
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional(),
  from: instantSchema.optional(),
  to: instantSchema.optional(),
  orderId: idSchema.optional(),
  correlationId: correlationIdSchema.optional(),
  consumer: z.string().min(1).max(200).optional(),
});

/**
 * Which events to replay: those that match all that is given, which is at least one thing; `from` is included, `to` is
 * not. Without a `consumer`, every consumer that is bound to an event's type gets it.
 */
export const replayFilterSchema = filterFields
  .refine((filter) => Object.values(filter).some((value) => value !== undefined), {
    error: `needs at least one of ${Object.keys(filterFields.shape).join(", ")}`,
  })
  .refine(({ from, to }) => !from || !to || Date.parse(from) < Date.parse(to), {
    path: ["to"],
    error: "must be later than from",
  });
export type ReplayFilter = Readonly<z.infer<typeof replayFilterSchema>>;

const RATE_ERROR = `must be a whole number from 1 to ${MAX_REPLAY_RATE}`;
/** Messages per second. */
export const replayRateSchema = z.number({ error: RATE_ERROR }).int({ error: RATE_ERROR })
  .min(1, { error: "must be at least 1" })
  .max(MAX_REPLAY_RATE, { error: `must be at most ${MAX_REPLAY_RATE}` });

/** The states of a replay: written down, being sent, all sent, or ended before that. */
export const REPLAY_STATES = ["PREPARED", "RUNNING", "DONE", "CANCELLED"] as const;
export type ReplayState = (typeof REPLAY_STATES)[number];

/** Messages that one replay has at most. */
export const MAX_REPLAY_MESSAGES = 100_000;

/** How long writing the set down may take, in milliseconds: a filter without a time or an order reads the whole outbox. */
export const PREPARE_TIMEOUT_MS = 60_000;

/** How far the time in an event's id, which has the index, may be from the time at which it says that it happened. */
const CLOCK_SLACK_MS = 3_600_000;

/** A replay. Its set has one message for each event and consumer that is to get it. */
export type ReplayRow = Row<ReplayJson>;

/** Which events to send again to whom; `horizon` is the oldest instant of which the inbox remembers everything. */
export interface ReplayRequest {
  readonly filter: ReplayFilter;
  /** Who is to get which types of event. */
  readonly bindings: readonly Binding[];
  readonly horizon: Date;
}

/** What came of preparing: the replay, or why nothing was written down. */
export type Prepared =
  | { readonly kind: "prepared"; readonly replay: ReplayRow }
  | { readonly kind: "too many" }
  | { readonly kind: "too old"; readonly oldest: Date };

/**
 * Writes down which messages a replay consists of, in the order of the events' ids, as one statement sees them: what is
 * published later is not in it. Only published events count. Sends nothing.
 */
export async function prepareReplay(
  sql: Sql,
  { filter, bindings, horizon }: ReplayRequest,
): Promise<Prepared> {
  const id = uuidv7();
  const wanted = bindings.filter(({ consumer }) => (filter.consumer ?? consumer) === consumer);
  return await transaction(sql, async (tx) => {
    await tx`select set_config('statement_timeout', ${String(PREPARE_TIMEOUT_MS)}, true)`;
    const [outcome] = await tx<{ oldest: Date | null; isTooOld: boolean }[]>`
      with matched as materialized (
        select e.id, e.occurred_at, b.consumer from outbox_events e
        join jsonb_to_recordset(${rowset(wanted)}::text::jsonb) as b (consumer text, type text) using (type)
        where e.published_at is not null ${matching(tx, filter)}
        order by e.id, b.consumer limit ${MAX_REPLAY_MESSAGES + 1}
      ),
      outcome as materialized (
        select count(*)::int as count, min(occurred_at) as oldest,
               coalesce(bool_or(id < ${firstIdOf(horizon)} or occurred_at < ${horizon}), false) as "isTooOld"
        from matched
      ),
      replay as (
        insert into replays (id, filter, total, already_processed, created_at)
        select ${id}, ${JSON.stringify(filter)}::text::jsonb, count, (
          select count(*) from matched m join processed_events p on p.event_id = m.id and p.consumer = m.consumer
        ), clock_timestamp()
        from outcome where count <= ${MAX_REPLAY_MESSAGES} and not "isTooOld"
        returning id
      ),
      events as (
        insert into replay_events (replay_id, position, event_id, consumer)
        select r.id, row_number() over (order by m.id, m.consumer), m.id, m.consumer
        from matched m cross join replay r
      )
      select oldest, "isTooOld" from outcome`;
    if (outcome?.isTooOld && outcome.oldest) return { kind: "too old", oldest: outcome.oldest };
    const replay = await findReplay(tx, id);
    return replay ? { kind: "prepared", replay } : { kind: "too many" };
  });
}

function matching(sql: Queryable, { type, from, to, orderId, correlationId }: ReplayFilter) {
  const [since, until] = [from && new Date(from), to && new Date(to)];
  return sql`
    ${type ? sql`and e.type = ${type}` : sql``}
    ${since ? sql`and e.occurred_at >= ${since} and e.id >= ${idNear(since, -CLOCK_SLACK_MS)}` : sql``}
    ${until ? sql`and e.occurred_at < ${until} and e.id < ${idNear(until, CLOCK_SLACK_MS)}` : sql``}
    ${orderId ? sql`and e.order_id = ${orderId}` : sql``}
    ${correlationId ? sql`and e.correlation_id = ${correlationId}` : sql``}`;
}

function idNear(instant: Date, slackMs: number): string {
  return firstIdOf(new Date(instant.getTime() + slackMs));
}

/** Up to `limit` replays, newest first, in any state or in `state`; `before` goes on behind the one with this id. */
export async function listReplays(
  sql: Queryable,
  { limit, before, state }: {
    readonly limit: number;
    readonly before?: string | undefined;
    readonly state?: ReplayState | undefined;
  },
): Promise<ReplayRow[]> {
  return await sql<ReplayRow[]>`
    select ${columns(sql)} from replays where true ${before ? sql`and id < ${before}` : sql``}
    ${state ? sql`and state = ${state}` : sql``}
    order by id desc limit ${limit}`;
}

/** The replay `id`, or undefined. */
export async function findReplay(sql: Queryable, id: string): Promise<ReplayRow | undefined> {
  const [row] = await sql<ReplayRow[]>`select ${columns(sql)} from replays where id = ${id}`;
  return row;
}

export type ReplayEventRow = Row<ReplayEventJson>;

/** Up to `limit` messages of the set, in the order of sending, from behind the position `after`. */
export async function listReplayEvents(
  sql: Queryable,
  id: string,
  { limit, after }: { readonly limit: number; readonly after: number },
): Promise<ReplayEventRow[]> {
  return await sql<ReplayEventRow[]>`
    select r.position, r.event_id as "eventId", r.consumer, e.type, e.order_id as "orderId",
           e.correlation_id as "correlationId", e.occurred_at as "occurredAt", p.event_id is not null as processed
    from replay_events r
    left join outbox_events e on e.id = r.event_id
    left join processed_events p on p.event_id = r.event_id and p.consumer = r.consumer
    where r.replay_id = ${id} and r.position > ${after}
    order by r.position limit ${limit}`;
}

/**
 * When the oldest event of the set happened, if that is before `horizon`; null where all that are still in the outbox
 * are young enough.
 */
export async function oldestBefore(sql: Queryable, id: string, horizon: Date): Promise<Date | null> {
  const [row] = await sql<{ oldest: Date | null }[]>`
    select min(e.occurred_at) as oldest from replay_events r join outbox_events e on e.id = r.event_id
    where r.replay_id = ${id} and (e.id < ${firstIdOf(horizon)} or e.occurred_at < ${horizon})`;
  return row?.oldest ?? null;
}

/** Starts a prepared replay; undefined where there is none with this id that waits for it. */
export async function startReplay(sql: Queryable, id: string, rate: number): Promise<ReplayRow | undefined> {
  const [row] = await sql<ReplayRow[]>`
    update replays
    set state = 'RUNNING', rate = ${rate}, started_at = clock_timestamp(), due_at = clock_timestamp()
    where id = ${id} and state = 'PREPARED' returning ${columns(sql)}`;
  return row;
}

/** Ends a replay that has not ended; undefined where there is none. What has been sent stays sent. */
export async function cancelReplay(
  sql: Queryable,
  id: string,
  reason: string,
): Promise<ReplayRow | undefined> {
  const [row] = await sql<ReplayRow[]>`
    update replays set state = 'CANCELLED', reason = ${reason}, due_at = null, finished_at = clock_timestamp()
    where id = ${id} and state in ('PREPARED', 'RUNNING') returning ${columns(sql)}`;
  return row;
}

function columns(sql: Queryable) {
  return sql`
    id, filter, state, total, already_processed as "alreadyProcessed", sent, skipped, rate as "ratePerSecond",
    last_error as "lastError", reason, created_at as "createdAt", started_at as "startedAt",
    finished_at as "finishedAt"`;
}

/** How long until the next messages of any running replay are due, in milliseconds, 0 for now; null where none runs. */
export async function nextReplayDueInMs(sql: Queryable): Promise<number | null> {
  const [row] = await sql<{ dueInMs: number }[]>`
    select ceil(extract(epoch from greatest(due_at - clock_timestamp(), interval '0')) * 1000)::int as "dueInMs"
    from replays where state = 'RUNNING' order by due_at limit 1`;
  return row?.dueInMs ?? null;
}

/** A running replay whose next messages are due. `rate` is per second, at most; `retryCount` are failed tries in a row. */
export interface DueReplay extends Pick<ReplayRow, "id" | "total" | "sent" | "skipped"> {
  readonly rate: number;
  readonly retryCount: number;
}

/**
 * Claims the running replay that has been due the longest. The claim is the row's lock, so it ends with the transaction,
 * however that ends, and two relays never send from one replay at once. Undefined where none is due and free. With it
 * comes the horizon: the oldest instant of which the inbox remembers everything.
 */
export async function claimDueReplay(
  sql: Queryable,
  retentionDays: number,
): Promise<DueReplay & { readonly horizon: Date } | undefined> {
  const [row] = await sql<(DueReplay & { horizon: Date })[]>`
    select id, total, sent, skipped, rate, retry_count as "retryCount", ${
    horizonAt(sql, retentionDays)
  } as horizon
    from replays
    where state = 'RUNNING' and due_at <= clock_timestamp()
    order by due_at limit 1
    for update skip locked`;
  return row;
}

/** Of which instant on the inbox remembers everything, by the database's clock. */
function horizonAt(sql: Queryable, retentionDays: number) {
  return sql`now() - make_interval(days => ${retentionDays}::int)`;
}

/** The horizon now. */
export async function readHorizon(sql: Queryable, retentionDays: number): Promise<Date> {
  const [row] = await sql<{ horizon: Date }[]>`select ${horizonAt(sql, retentionDays)} as horizon`;
  if (!row) throw new Error("Cannot tell the time: the database answered with no row");
  return row.horizon;
}

export type ReplayMessage = Pick<ReplayEventRow, "position" | "eventId" | "consumer">;

/** Up to `limit` messages of the replay `id` that are still to be sent, in the order of the set. */
export async function readWaitingMessages(
  sql: Queryable,
  id: string,
  limit: number,
): Promise<ReplayMessage[]> {
  return await sql<ReplayMessage[]>`
    select position, event_id as "eventId", consumer from replay_events
    where replay_id = ${id} and settled_at is null order by position limit ${limit}`;
}

/** How a replay stands after a try; `error` is null where the try went well. */
export type ReplayProgress =
  & Pick<DueReplay, "sent" | "skipped" | "retryCount">
  & { readonly error: string | null }
  & (
    | { readonly state: "RUNNING"; readonly dueInMs: number }
    | { readonly state: "DONE" }
    | { readonly state: "CANCELLED"; readonly reason: string }
  );

/**
 * Writes down how the replay `id`, claimed in this transaction, stands, and that the messages at `positions` have been
 * sent or skipped. The first 500 characters of an error are kept.
 */
export async function recordReplayProgress(
  sql: Queryable,
  id: string,
  positions: readonly number[],
  progress: ReplayProgress,
): Promise<void> {
  const { state, sent, skipped, retryCount } = progress;
  const error = progress.error === null ? null : storableText(progress.error); // the broker's words
  const dueInMs = progress.state === "RUNNING" ? progress.dueInMs : null;
  const reason = progress.state === "CANCELLED" ? storableText(progress.reason) : null;
  await sql`
    with settled as (
      update replay_events set settled_at = clock_timestamp()
      where replay_id = ${id} and position = any(${`{${positions}}`}::text::int[])
    )
    update replays
    set state = ${state}, sent = ${sent}, skipped = ${skipped}, retry_count = ${retryCount},
        last_error = coalesce(left(${error}, 500), last_error), reason = left(${reason}, 500),
        due_at = clock_timestamp() + ${dueInMs}::float8 * interval '1 millisecond',
        finished_at = case when ${state} = 'RUNNING' then null else clock_timestamp() end
    where id = ${id}`;
}
