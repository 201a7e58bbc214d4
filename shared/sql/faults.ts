/**
 * The table `faults`: what is armed, and taking it.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { type Fault, type FaultPoint, faultPointSchema, type FaultTarget } from "../faults/fault_points.ts";
import { type Queryable, rowset, type Sql, transaction } from "./connect.ts";

const CHANNEL = "orderflow_faults";

/** The most faults that are armed at once; a process keeps all of them in memory. */
export const MAX_ARMED_FAULTS = 1000;

/** An armed fault. */
export interface ArmedFault extends Fault {
  /** Its id, a version 7 uuid. */
  readonly id: string;
  /** How often it will strike yet. */
  readonly times: number;
  /** When it was armed. */
  readonly createdAt: Date;
}

interface FaultRow extends Omit<ArmedFault, "point"> {
  readonly point: string;
}

/** What is armed, in the order in which it strikes. Points that this version does not know are left out. */
export async function listArmedFaults(sql: Queryable): Promise<ArmedFault[]> {
  const rows = await sql<FaultRow[]>`
    select id, point, consumer, correlation_id as "correlationId", remaining as times, delay_ms as "delayMs",
           created_at as "createdAt"
    from faults where remaining > 0 order by id limit ${MAX_ARMED_FAULTS}`;
  return rows.flatMap(known);
}

/** Puts `faults` in the place of all there are, and tells every process that listens. */
export async function replaceFaults(sql: Sql, faults: readonly Fault[], now: Date): Promise<void> {
  await transaction(sql, async (tx) => {
    await tx`delete from faults`;
    await insert(tx, faults, now);
  });
}

/** Arms `faults` beside those there are, and tells every process that listens. Spent ones of before are deleted. */
export async function armFaults(sql: Sql, faults: readonly Fault[], now: Date): Promise<void> {
  await transaction(sql, async (tx) => {
    await tx`delete from faults where remaining = 0 and created_at < ${now}::timestamptz - interval '1 hour'`;
    await insert(tx, faults, now);
  });
}

async function insert(tx: Queryable, faults: readonly Fault[], now: Date): Promise<void> {
  const rows = faults.map((fault) => ({ ...fault, id: uuidv7() }));
  await tx`
    insert into faults (id, point, consumer, correlation_id, remaining, delay_ms, created_at)
    select "id", "point", "consumer", "correlationId", "times", "delayMs", ${now}
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
      "id" uuid, "point" text, "consumer" text, "correlationId" text, "times" integer, "delayMs" integer
    )`;
  await tx`select pg_notify(${CHANNEL}, '')`;
}

/**
 * Takes one strike of a fault that is armed for `point` and what is at hand; undefined where there is none. Committed
 * when it resolves, so a strike that ends the process is spent all the same.
 */
export async function takeFault(
  sql: Sql,
  point: FaultPoint,
  { consumers, correlationIds }: FaultTarget,
): Promise<ArmedFault | undefined> {
  const rows = await sql<FaultRow[]>`
    with chosen as (
      select id from faults
      where point = ${point} and remaining > 0
        and (consumer is null or consumer in (
          select jsonb_array_elements_text(${JSON.stringify(consumers)}::text::jsonb)))
        and (correlation_id is null or correlation_id in (
          select jsonb_array_elements_text(${JSON.stringify(correlationIds)}::text::jsonb)))
      order by id limit 1
    ), taken as (
      update faults f set remaining = remaining - 1 from chosen where f.id = chosen.id and f.remaining > 0
      returning f.*
    )
    select id, point, consumer, correlation_id as "correlationId", remaining as times, delay_ms as "delayMs",
           created_at as "createdAt",
           case when remaining = 0 then pg_notify(${CHANNEL}, '') end as told
    from taken`;
  return rows.flatMap(known)[0];
}

function known(row: FaultRow): ArmedFault[] {
  const point = faultPointSchema.safeParse(row.point);
  const { id, consumer, correlationId, times, delayMs, createdAt } = row;
  return point.success ? [{ id, point: point.data, consumer, correlationId, times, delayMs, createdAt }] : [];
}

/**
 * Calls `onChange` when something was armed, spent or taken away, and whenever the connection has been made again.
 * Ends with the pool.
 */
export async function listenForFaults(sql: Sql, onChange: () => void): Promise<void> {
  await sql.listen(CHANNEL, onChange, onChange);
}
