// Holds: parts of the machine that an operator has stopped, to look at them and go on step by step. All times are the
// database's.

import type { Queryable, Sql } from "../sql/connect.ts";
import type { HoldJson, Row } from "./answers.ts";
import type { Place } from "./story.ts";

/** The part that claims events from the outbox. */
export const RELAY_PART = "relay";
/** The seam of the relay between the broker's confirm and the published mark. */
export const BEFORE_MARK = "relay.before-mark";
const BEFORE_COMMIT = ".before-commit";

/** The seam of a consumer, which is a part by the name of its queue, between the effects of a batch and their commit. */
export function beforeCommit(queue: string): string {
  return queue + BEFORE_COMMIT;
}

/** Whether a part is one of the seams, which are there only where `FAULTS_ENABLED` is on. */
export function isInner(part: string): boolean {
  return part === BEFORE_MARK || part.endsWith(BEFORE_COMMIT);
}

/** Every part that can be held, for these queues. */
export function partsOf(queues: readonly string[]): string[] {
  return [RELAY_PART, BEFORE_MARK, ...queues.flatMap((queue) => [queue, beforeCommit(queue)])];
}

/** The part of the machine where a hold, of a part or a seam in it, shows. */
export function placeOf(part: string): Place {
  if (part === RELAY_PART || part === BEFORE_MARK) return "relay";
  return `consumer:${part.endsWith(BEFORE_COMMIT) ? part.slice(0, -BEFORE_COMMIT.length) : part}`;
}

/** Steps that are granted and not yet taken, at most. */
export const MAX_STEPS = 1000;

/** On which processes are told when a part was held or resumed, or got a step. */
export const HOLDS_CHANNEL = "orderflow_holds";

/** A hold that is on; `steps` are granted and not yet taken. */
export type Hold = Row<HoldJson>;

/** The holds that are on, by the names of their parts. */
export async function listHolds(sql: Queryable): Promise<Hold[]> {
  return await sql<Hold[]>`
    select part, since as "sinceAt", until as "untilAt", steps, reason as because
    from holds where until > now() order by part`;
}

/**
 * Holds a part for so many seconds from now, and tells every process. One that is held already is held for as long from
 * now, and keeps its beginning and its steps.
 */
export async function holdPart(
  sql: Queryable,
  { part, forSeconds, because }: Pick<Hold, "part" | "because"> & { readonly forSeconds: number },
): Promise<void> {
  await sql`
    with held as (
      insert into holds (part, since, until, reason)
      values (${part}, now(), now() + ${forSeconds} * interval '1 second', ${because})
      on conflict (part) do update
      set until = excluded.until, reason = excluded.reason,
          since = case when holds.until > now() then holds.since else excluded.since end,
          steps = case when holds.until > now() then holds.steps else 0 end
      returning part
    )
    select pg_notify(${HOLDS_CHANNEL}, part) from held`;
}

/** Lets a part go on, and tells every process; answers whether it was held. */
export async function resumePart(sql: Queryable, part: string): Promise<boolean> {
  const rows = await sql`
    with resumed as (
      update holds set until = now(), steps = 0 where part = ${part} and until > now() returning part
    )
    select pg_notify(${HOLDS_CHANNEL}, part) from resumed`;
  return rows.count > 0;
}

/** Grants a held part one step more, and tells every process; answers whether it is held. More than `MAX_STEPS` are not kept. */
export async function grantStep(sql: Queryable, part: string): Promise<boolean> {
  const rows = await sql`
    with granted as (
      update holds set steps = least(steps + 1, ${MAX_STEPS}) where part = ${part} and until > now() returning part
    )
    select pg_notify(${HOLDS_CHANNEL}, part) from granted`;
  return rows.count > 0;
}

/** Which of `parts` are held, with their steps. */
export async function readHeld(
  sql: Queryable,
  parts: readonly string[],
): Promise<Pick<Hold, "part" | "steps">[]> {
  return await sql<Pick<Hold, "part" | "steps">[]>`
    select part, steps from holds
    where until > now() and part in (select jsonb_array_elements_text(${
    JSON.stringify(parts)
  }::text::jsonb))`;
}

/** Takes one of a part's steps, whichever copy of its process asks; answers whether there was one. */
export async function takeStep(sql: Sql, part: string): Promise<boolean> {
  const rows = await sql`
    update holds set steps = steps - 1 where part = ${part} and steps > 0 and until > now() returning part`;
  return rows.count > 0;
}

/** Gives a step back that was taken for nothing, so that another copy, or the next event, has it. */
export async function returnStep(sql: Sql, part: string): Promise<void> {
  await sql`
    with returned as (
      update holds set steps = steps + 1 where part = ${part} and until > now() returning part
    )
    select pg_notify(${HOLDS_CHANNEL}, part) from returned`;
}

/**
 * Those of `consumers` that are held, or were until less than `withinMs` milliseconds ago, at their queue or before their
 * commit: what they have in their hands is late, and not lost.
 */
export async function findHeldConsumers(
  sql: Queryable,
  consumers: readonly string[],
  withinMs: number,
): Promise<Set<string>> {
  const rows = await sql<{ part: string }[]>`
    select part from holds where until > now() - ${withinMs}::float8 * interval '1 millisecond'`;
  const held = new Set(rows.map(({ part }) => part));
  return new Set(consumers.filter((queue) => held.has(queue) || held.has(beforeCommit(queue))));
}

/**
 * Since when something has been held, as a text that keeps all digits: of the holds that are on, and of those that ended
 * less than `withinSeconds` ago, the oldest; null where there is none.
 */
export async function findHeldSince(sql: Queryable, withinSeconds: number): Promise<string | null> {
  const [row] = await sql<{ since: string | null }[]>`
    select min(since)::text as since from holds where until > now() - make_interval(secs => ${withinSeconds}::float8)`;
  return row?.since ?? null;
}
