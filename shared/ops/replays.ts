// Frozen sets of messages that are sent again: published events (a replay, a republish) or dead letters (a redrive, unless
// they are discarded); how far each is, and what it came to.

import { z } from "zod";
import { v7 as uuidv7 } from "uuid";
import { correlationIdSchema, EVENT_TYPES, idSchema } from "../events.ts";
import type { Binding } from "../broker/connection.ts";
import { type Queryable, rowset, type Sql, type Statement, transaction } from "../sql/connect.ts";
import { firstIdOf } from "../sql/outbox.ts";
import type { ReplayEventJson, ReplayJson, ReplayOutcome, Row } from "./answers.ts";
import { type LetterSelection, matchingLetters } from "./dead_letters.ts";

/** The most messages per second that a replay may be started with. */
export const MAX_REPLAY_RATE = 5000;

/** The messages per second of a replay that is started without a rate. */
export const DEFAULT_REPLAY_RATE = 200;

/** A point in time: ISO 8601 with an offset, not before 1970. */
export const instantSchema = z.iso
  .datetime({ offset: true, error: "must be a time such as 2026-11-22T17:15:43Z" })
  .refine((text) => Date.parse(text) >= 0, { error: "must not be before 1970" });

const filterFields = z.strictObject({
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional(),
  from: instantSchema.optional(),
  to: instantSchema.optional(),
  orderId: idSchema.optional(),
  eventId: idSchema.optional(),
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

/** Events and their consumers in one set at most. */
export const MAX_REPLAY_MESSAGES = 100_000;
/** Dead letters in one set at most. */
export const MAX_SET_LETTERS = 10_000;

/** How long writing the set down may take, in milliseconds: a filter without a time or an order reads the whole outbox. */
const PREPARE_TIMEOUT_MS = 60_000;

/** How far the time in an event's id, which has the index, may be from the time at which it says that it happened. */
const CLOCK_SLACK_MS = 3_600_000;

/** A frozen set. It has one message for each dead letter, or for each event and consumer that is to get it. */
export type ReplayRow = Row<ReplayJson>;

/**
 * Writes down which messages a replay consists of, in the order of the events' ids, as one statement sees them: what is
 * published later is not in it. Only published events count; `bindings` say who is to get which types of event. Sends
 * nothing. Nothing is written down where one event is older than `horizon`, the oldest instant of which the inbox remembers
 * everything: then the answer has the `oldest`; or where there are too many messages: then it has neither.
 */
export async function prepareReplay(
  sql: Sql,
  filter: ReplayFilter,
  bindings: readonly Binding[],
  horizon: Date,
): Promise<{ replay: ReplayRow | undefined; oldest: Date | null }> {
  return await transaction(sql, async (tx) => {
    await tx`select set_config('statement_timeout', ${String(PREPARE_TIMEOUT_MS)}, true)`;
    return await freezeEvents(tx, "REPLAY", filter, bindings, horizon);
  });
}

/**
 * Has the relay send the event `eventId` to the exchange once more, if it is published: as a set of its own, which is started
 * at once. However old it is: whatever is still in the outbox, its consumers remember.
 */
export async function republishEvent(
  sql: Queryable,
  eventId: string,
  bindings: readonly Binding[],
): Promise<ReplayRow | undefined> {
  const { replay } = await freezeEvents(sql, "REPUBLISH", { eventId }, bindings, null);
  return replay && await startReplay(sql, replay.id, MAX_REPLAY_RATE);
}

async function freezeEvents(
  sql: Queryable,
  action: "REPLAY" | "REPUBLISH",
  filter: ReplayFilter,
  bindings: readonly Binding[],
  horizon: Date | null,
) {
  const wanted = bindings.filter(({ consumer }) => (filter.consumer ?? consumer) === consumer);
  const isTooOld = horizon ? sql`(e.id < ${firstIdOf(horizon)} or e.occurred_at < ${horizon})` : sql`false`;
  const matched = sql`
    select e.id, null::uuid as letter_id, b.consumer, case when ${isTooOld} then e.occurred_at end as too_old
    from outbox_events e
    join jsonb_to_recordset(${rowset(wanted)}::text::jsonb) as b (consumer text, type text) using (type)
    where e.published_at is not null ${matching(sql, filter)}
    order by e.id, b.consumer limit ${MAX_REPLAY_MESSAGES + 1}`;
  return await freeze(sql, action, filter, matched);
}

/**
 * Writes down which open letters match at this moment, the oldest `limit` of them at most: this set is then redriven or
 * discarded, whatever is put aside meanwhile.
 */
export async function prepareLetters(
  sql: Queryable,
  selection: LetterSelection,
  limit = MAX_SET_LETTERS,
): Promise<ReplayRow> {
  const { ids, ...others } = selection;
  const filter = { ...others, ...ids && { ids: ids.join(" ") } };
  const matched = sql`
    select coalesce(event_id, id) as id, id as letter_id, consumer, null::timestamptz as too_old from dead_letters
    where state = 'OPEN' ${matchingLetters(sql, selection)} order by dead_letters.id limit ${limit}`;
  const { replay } = await freeze(sql, "REDRIVE", filter, matched);
  if (!replay) throw new Error("Cannot write a set of dead letters down: the database answered with no row");
  return replay;
}

/** Writes a set down unless it has too many messages, or one that is too old. */
async function freeze(sql: Queryable, action: ReplayRow["action"], filter: object, matched: Statement) {
  const id = uuidv7();
  const [outcome] = await sql<{ oldest: Date | null }[]>`
    with matched as materialized (${matched}),
    outcome as materialized (select count(*)::int as count, min(too_old) as oldest from matched),
    replay as (
      insert into replays (id, action, filter, total, already_processed, created_at)
      select ${id}, ${action}, ${JSON.stringify(filter)}::text::jsonb, count, (
        select count(*) from matched m join processed_events p on p.event_id = m.id and p.consumer = m.consumer
      ), clock_timestamp()
      from outcome where count <= ${MAX_REPLAY_MESSAGES} and oldest is null
      returning id
    ),
    events as (
      insert into replay_events (replay_id, position, event_id, letter_id, consumer)
      select r.id, row_number() over (order by coalesce(m.letter_id, m.id), m.consumer), m.id, m.letter_id, m.consumer
      from matched m cross join replay r
    )
    select oldest from outcome`;
  return { oldest: outcome?.oldest ?? null, replay: await findReplay(sql, id) };
}

function matching(sql: Queryable, { type, from, to, orderId, correlationId, eventId }: ReplayFilter) {
  const [since, until] = [from && new Date(from), to && new Date(to)];
  return sql`
    ${eventId ? sql`and e.id = ${eventId}` : sql``}
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
    readonly state?: ReplayRow["state"];
  },
): Promise<ReplayRow[]> {
  return await sql<ReplayRow[]>`
    select ${columns(sql)} from replays where true ${before ? sql`and id < ${before}` : sql``}
    ${state ? sql`and state = ${state}` : sql``}
    order by id desc limit ${limit}`;
}

export async function findReplay(sql: Queryable, id: string): Promise<ReplayRow | undefined> {
  const [row] = await sql<ReplayRow[]>`select ${columns(sql)} from replays where id = ${id}`;
  return row;
}

export type ReplayEventRow = Row<ReplayEventJson>;

/**
 * What the message `m` of a set came to, by the inbox row `p` of it: not by the times there, which are of other clocks. What
 * was sent by an earlier version is known to have been sent, and no more. That a letter is open is asked by its `resolved_at`:
 * by its state, the planner may go through all open ones of the consumer for each message.
 */
function became(sql: Queryable): Statement {
  const failedSince = sql`event_id = m.event_id and consumer = m.consumer and last_failed_at >= m.settled_at`;
  return sql`
    case when m.settled_at is null then 'unsent'
      when m.result = 'SKIPPED' then 'skipped'
      when m.result = 'DISCARDED' then 'discarded'
      when m.result is null then 'waiting'
      when p.duplicates > m.repeats_before then 'absorbed'
      when p.event_id is not null and m.repeats_before is null then 'processed'
      when exists (select from delayed_retries where ${failedSince} and due_at is not null) then 'retrying'
      when exists (select from dead_letters where ${failedSince} and resolved_at is null) then 'failed again'
      when exists (select from dead_letters was join dead_letters d using (consumer, fingerprint)
        where was.id = m.letter_id and d.state = 'OPEN' and d.last_failed_at >= m.settled_at) then 'failed again'
      else 'waiting' end`;
}

/** Up to `limit` messages of the set, in the order of sending, from behind the position `after`. */
export async function listReplayEvents(
  sql: Queryable,
  id: string,
  { limit, after }: { readonly limit: number; readonly after: number },
): Promise<ReplayEventRow[]> {
  return await sql<ReplayEventRow[]>`
    select m.position, nullif(m.event_id, m.letter_id) as "eventId", m.letter_id as "deadLetterId", m.consumer,
           coalesce(e.type, d.event_type) as type, coalesce(e.order_id, d.order_id) as "orderId",
           coalesce(e.correlation_id, d.correlation_id) as "correlationId", coalesce(d.last_failed_at, e.occurred_at) as "occurredAt",
           p.event_id is not null as processed, coalesce(m.error, d.reason) as error, ${became(sql)} as became
    from replay_events m
    left join outbox_events e on e.id = m.event_id
    left join dead_letters d on d.id = m.letter_id
    left join processed_events p on p.event_id = m.event_id and p.consumer = m.consumer
    where m.replay_id = ${id} and m.position > ${after}
    order by m.position limit ${limit}`;
}

/** To whom the set goes, and how many of its messages came to what there. Reads the whole set. */
export async function readOutcome(sql: Queryable, id: string): Promise<ReplayOutcome> {
  const consumers = await sql<ReplayOutcome["consumers"]>`
    select consumer, sum(count)::int as total, sum(processed)::int as "alreadyProcessed",
           jsonb_object_agg(became, count) as became
    from (
      select m.consumer, ${became(sql)} as became, count(*)::int as count, count(p.event_id)::int as processed
      from replay_events m
      left join processed_events p on p.event_id = m.event_id and p.consumer = m.consumer
      where m.replay_id = ${id} group by 1, 2
    ) as by_became
    group by consumer order by consumer`;
  return { consumers: [...consumers] };
}

/** How long a set waits to be started. */
const PREPARED_HOURS = 24;

/** Whether a set waits to be started, and has not expired. */
export function isFresh(sql: Queryable): Statement {
  return sql`state = 'PREPARED' and created_at > now() - make_interval(hours => ${PREPARED_HOURS}::int)`;
}

/** Starts a prepared set that has not expired; the relay sends it. Undefined where there is none with this id. */
export async function startReplay(sql: Queryable, id: string, rate: number): Promise<ReplayRow | undefined> {
  const [row] = await sql<ReplayRow[]>`
    update replays
    set state = 'RUNNING', rate = ${rate}, started_at = clock_timestamp(), due_at = clock_timestamp()
    where id = ${id} and ${isFresh(sql)} returning ${columns(sql)}`;
  return row;
}

/**
 * Discards the letters of a prepared set that are still open, all at once, and ends the set. Answers with how many those
 * were, and how many are `gone`; undefined where no set of letters with this id waits.
 */
export async function discardSet(
  sql: Queryable,
  id: string,
  reason: string,
): Promise<{ discarded: number; gone: number } | undefined> {
  const [row] = await sql<{ discarded: number; gone: number }[]>`
    with waiting as materialized ( -- locked ahead of its letters: whoever redrives it would take those for gone
      select id from replays where id = ${id} and action = 'REDRIVE' and ${isFresh(sql)} for update
    ), open as materialized (
      select d.id from waiting w join replay_events m on m.replay_id = w.id join dead_letters d on d.id = m.letter_id
      where d.state = 'OPEN' order by d.id for update of d skip locked
    ), ended as (
      update replays set action = 'DISCARD', state = 'DONE', rate = ${MAX_REPLAY_RATE}, sent = total,
        skipped = total - (select count(*) from open), started_at = clock_timestamp(), finished_at = clock_timestamp()
      where id = (select id from waiting) returning skipped
    ), closed as (
      update dead_letters set state = 'DISCARDED', resolved_at = clock_timestamp(), resolution = ${reason}
      where id = any(array(select id from open)) returning id
    ), settled as (
      update replay_events
      set settled_at = now(), result = case when letter_id in (select id from open) then 'DISCARDED' else 'SKIPPED' end,
        error = case when letter_id not in (select id from open) then ${GONE} end
      where replay_id = (select id from waiting)
    )
    select (select count(*)::int from closed) as discarded, skipped as gone from ended`;
  return row;
}

/** Why a letter of a set was skipped: it is not open any more, or somebody is dealing with it at this moment. */
export const GONE = "dealt with by somebody else meanwhile";

/** How long a cancel waits for a sending that is under way, in milliseconds: the broker has 5 s for that. */
const CANCEL_WAIT_MS = 6000;

/**
 * Ends a set that has not ended; undefined where there is none. What has been sent stays sent. In a transaction it waits for
 * as long as a sending may take.
 */
export async function cancelReplay(
  sql: Queryable,
  id: string,
  reason: string,
): Promise<ReplayRow | undefined> {
  await sql`select set_config('lock_timeout', ${String(CANCEL_WAIT_MS)}, true)`;
  const [row] = await sql<ReplayRow[]>`
    update replays set state = 'CANCELLED', reason = ${reason}, due_at = null, finished_at = clock_timestamp()
    where id = ${id} and state in ('PREPARED', 'RUNNING') returning ${columns(sql)}`;
  return row;
}

function columns(sql: Queryable) {
  return sql`
    id, action, filter, state, total, already_processed as "alreadyProcessed", sent, skipped, rate as "ratePerSecond",
    last_error as "lastError", reason, created_at as "createdAt",
    created_at + make_interval(hours => ${PREPARED_HOURS}::int) as "expiresAt", started_at as "startedAt",
    finished_at as "finishedAt"`;
}

/** The oldest instant of which the inbox remembers everything, by the database's clock. */
export async function readHorizon(sql: Queryable, retentionDays: number): Promise<Date> {
  const [row] = await sql<{ horizon: Date }[]>`
    select now() - make_interval(days => ${retentionDays}::int) as horizon`;
  if (!row) throw new Error("Cannot tell the time: the database answered with no row");
  return row.horizon;
}
