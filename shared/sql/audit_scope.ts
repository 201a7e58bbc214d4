/**
 * What the checks of the audit are given, and how they answer.
 *
 * @module
 */
import type postgres from "postgres";
import type { Topology } from "../broker/topology.ts";
import type { Queryable } from "./connect.ts";

/** A promise of the system, by its number in `specs/project.md`. */
export type AuditPromise = 1 | 2 | 3 | 4;

/** One finding of a check. */
export interface Violation {
  /** The order that it is about. */
  readonly orderId: string;
  /** The event that it is about; null where it is about the order as a whole. */
  readonly eventId: string | null;
  /** What the tables say, for people. */
  readonly detail: string;
}

/** What a check has found. */
export interface Found {
  /** How many there are. */
  readonly count: number;
  /** The first of them by order and event, at most as many as were asked for. */
  readonly violations: readonly Violation[];
}

/** What is audited. */
export interface AuditScope {
  /** Says who consumes what, under which name. */
  readonly topology: Topology;
  /** How old a cause must be before its effect is missed, in seconds. */
  readonly graceSeconds: number;
  /** How long published events are kept, in days: of an older order, none is missed. */
  readonly retentionDays: number;
  /** The most violations to name per check. */
  readonly limit: number;
}

/**
 * A part of a statement, with its parameters.
 *
 * @internal
 */
export type Fragment = postgres.Fragment;

/**
 * The time up to which a cause is old enough for its effect to be missed.
 *
 * @internal
 */
export function graceStart(sql: Queryable, { graceSeconds }: Pick<AuditScope, "graceSeconds">): Fragment {
  return sql`now() - make_interval(secs => ${graceSeconds}::float8)`;
}

/** A row of a check's query: a violation, and how many there are in all. */
export interface ViolationRow extends Violation {
  /** How many violations the check has found. */
  readonly total: number;
}

/** A check's rows as what it has found. */
export function foundIn(rows: readonly ViolationRow[]): Found {
  return {
    count: rows[0]?.total ?? 0,
    violations: rows.map(({ orderId, eventId, detail }) => ({ orderId, eventId, detail })),
  };
}
