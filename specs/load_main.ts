// `deno task load`: puts load on a running system, waits until all of its orders have ended, and says how fast that was.
// It knows no more of the system than `POST /orders` and the columns `id`, `status` and `updated_at` of the table
// `orders`.
//
// An order's time begins by this process's clock when its request was sent or, at a rate, was due. It ends by
// `updated_at`, the clock of whoever moved it: the last commit is not in it, and the clocks must agree. Nothing is asked
// of the database before the last order was sent, so looking costs the orders next to nothing.

import { z } from "zod";
import { isFinal, ORDER_STATUSES } from "../shared/order_status.ts";
import { messageOf } from "../shared/process/errors.ts";
import { connect, KEYED_SETTINGS, type Sql, uuids } from "../shared/sql/connect.ts";
import {
  EXIT_DONE,
  flag,
  type FlagValues,
  onOff,
  startProgress,
  task,
  UsageError,
  wholeNumber,
} from "../workers/tools/command.ts";
import { runningApi } from "../workers/tools/ops_api.ts";
import { quantiles } from "./bench/bench.ts";
import { sendOrders, type SentOrders } from "./bench/send_orders.ts";

const ENDS_MS = 300_000;
const LOOK_EVERY_MS = 50;
const MAX_ASKED = 1000;
/** A request this late means that the rate was more than the system, or the connections, could take. */
const LATE_MS = 100;

export const LOAD_FLAGS = {
  url: flag(
    z.url({ protocol: /^http$/, error: "must be an http:// URL" }).optional(),
    "where the API is (default: where deno task dev has it)",
    "<url>",
  ),
  database: flag(
    z.url({ protocol: /^postgres(ql)?$/, error: "must be a postgres:// URL" }).optional(),
    "the Postgres whose table orders tells how the orders end (default: DATABASE_URL)",
    "<url>",
  ),
  orders: flag(wholeNumber(1, 1_000_000).default(2000), "orders to create, up to 1,000,000"),
  connections: flag(
    wholeNumber(1, 1000).default(16),
    "connections, each with one request at a time, up to 1000",
  ),
  rate: flag(
    wholeNumber(1, 1_000_000).optional(),
    "orders per second, due at even distances; otherwise as many as the connections allow",
    "<number>",
  ),
  "no-wait": flag(onOff, "do not wait until the orders have ended; needs no database"),
  json: flag(onOff, "print the report as JSON; progress goes to standard error"),
};
/** What load to put on; the database is null when nobody waits for the orders to end. */
type LoadOptions = ReturnType<typeof loadOptions>;

/**
 * Makes options of the flags. `databaseUrl` stands in for a missing `--database`, `apiUrl` for `--url`.
 *
 * Errors: `UsageError` where there is no database to wait with.
 */
export function loadOptions(
  { "no-wait": noWait, url, database: given, ...flags }: FlagValues<typeof LOAD_FLAGS>,
  databaseUrl: string | undefined,
  apiUrl = runningApi,
) {
  const database = given ?? databaseUrl;
  if (!noWait && !database) {
    throw new UsageError(
      "Cannot see the orders end: start deno task dev, or give --database or DATABASE_URL, or --no-wait",
    );
  }
  return { ...flags, url: url ?? apiUrl(), database: noWait ? null : database ?? null };
}

/** What is printed with `--json`; `end` is null when nobody asked what became of the orders. */
export type LoadReport = ReturnType<typeof reportOf> & { readonly end: ReturnType<typeof endOf> | null };

if (import.meta.main) {
  await task({
    name: "load",
    about: "puts load on a running system, and says how fast its orders were",
    flags: LOAD_FLAGS,
    groups: { "How much, and how fast:": LOAD_FLAGS },
    ends:
      `Ends with 0 when all orders were created and, where it waits, have ended; 1 when not; 64 for a wrong usage, 78
for a wrong configuration.`,
    example: "--orders 10000 --connections 64",
    run: (flags) => load(loadOptions(flags, Deno.env.get("DATABASE_URL") || undefined)), // empty: unset
  });
}

async function load(flags: LoadOptions): Promise<number> {
  const say = flags.json ? () => {} : (line: string) => console.log(line);
  await using resources = new AsyncDisposableStack();
  let sql: Sql | null = null;
  if (flags.database !== null) {
    sql = connect(flags.database, { name: "load", role: null, max: 1, settings: KEYED_SETTINGS });
    resources.defer(() => sql?.end({ timeout: 2 }));
    await sql`select id, status, updated_at from orders limit 0`.catch((error) => { // before there is any load
      throw new Error(`Cannot read the table orders of --database: ${messageOf(error)}`, { cause: error });
    });
  }
  const sent = await send(flags, say);
  const report: LoadReport = { ...reportOf(sent), end: sql && endOf(sent, await awaitEnds(sent, sql)) };
  if (flags.json) console.log(JSON.stringify(report));
  else sayEnd(report, say);
  return EXIT_DONE;
}

async function send(flags: LoadOptions, say: (line: string) => void): Promise<SentOrders> {
  using progress = startProgress("orders", flags.orders);
  const sent = await sendOrders(flags.url, { ...flags, onCreated: progress.at });
  const { orders, perSecond, post, cpuShare } = reportOf(sent);
  say(
    `${orders} orders over ${flags.connections} connections: ${perSecond.toFixed(0)}/s, ` +
      `p50 ${post.p50.toFixed(1)} ms, p99 ${post.p99.toFixed(1)} ms; ` +
      `the generator took ${(cpuShare * 100).toFixed(0)} % of a core`,
  );
  if (sent.lateMs > LATE_MS) {
    const late = `a request was sent ${sent.lateMs.toFixed(0)} ms after it was due`;
    console.error(`The rate of ${flags.rate}/s was not kept: ${late}.`);
  }
  return sent;
}

/**
 * How the sending went: the seconds are from the first request to the last answer, `post` is from a request (at a rate:
 * from when it was due) to its answer, and the share is that of one core which the generator itself used.
 */
function reportOf({ sinceMs, seconds, latenciesMs, cpuShare }: SentOrders) {
  const orders = sinceMs.size;
  return { orders, seconds, perSecond: orders / seconds, post: quantiles(latenciesMs), cpuShare };
}

/** An order that has ended, in milliseconds since 1970 by the clock of whoever moved it. */
type OrderEnd = Readonly<{ id: string; status: string; endedMs: number }>;

/**
 * Looks until all orders have ended.
 *
 * Errors: after `withinMs`, with how many have not ended and what became of the oldest of them.
 */
export async function awaitEnds(
  { sinceMs }: Pick<SentOrders, "sinceMs">,
  sql: Sql,
  withinMs = ENDS_MS,
): Promise<OrderEnd[]> {
  using progress = startProgress("orders ended", sinceMs.size);
  const open = new Set(sinceMs.keys()); // in the order in which they began, which is about how they end
  const ends: OrderEnd[] = [];
  for (const untilMs = performance.now() + withinMs; open.size > 0;) {
    const asked = open.keys().take(MAX_ASKED).toArray();
    const rows = await sql<OrderEnd[]>`
      select id, status, extract(epoch from updated_at)::float8 * 1000 as "endedMs" from orders
      where id = any(${uuids(asked)}::text::uuid[]) and status in ${sql(ORDER_STATUSES.filter(isFinal))}`;
    for (const end of rows) {
      ends.push(end);
      open.delete(end.id);
    }
    progress.at(ends.length);
    if (rows.length === asked.length) continue; // so the next ones may have ended, too
    if (performance.now() > untilMs) throw new Error(await stillOpen(sql, [...open], sinceMs.size));
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  return ends;
}

async function stillOpen(sql: Sql, [first = "", ...others]: readonly string[], all: number): Promise<string> {
  const [row] = await sql<{ status: string }[]>`select status from orders where id = ${first}`;
  const state = row ? `is ${row.status}` : "is not in the table orders of --database";
  return `${1 + others.length} of ${all} orders have not ended in time; the oldest, ${first}, ${state}`;
}

/**
 * What the ends come to: the seconds are from the first request to the last end, the latency is from a request to its
 * order's end. Pure.
 */
export function endOf({ sinceMs }: Pick<SentOrders, "sinceMs">, ends: readonly OrderEnd[]) {
  const firstMs = sinceMs.values().reduce((first, ms) => Math.min(first, ms), Infinity);
  const lastMs = ends.reduce((last, { endedMs }) => Math.max(last, endedMs), firstMs);
  const seconds = (lastMs - firstMs) / 1000;
  const statuses = Object.entries(Object.groupBy(ends, ({ status }) => status));
  return {
    seconds,
    perSecond: ends.length / seconds,
    statuses: Object.fromEntries(statuses.map(([status, of]) => [status, of?.length ?? 0])),
    latency: quantiles(ends.map(({ id, endedMs }) => endedMs - (sinceMs.get(id) ?? endedMs))),
  };
}

function sayEnd({ orders, end }: LoadReport, say: (line: string) => void): void {
  if (!end) return;
  const { seconds, perSecond, latency: { p50, p99 } } = end;
  const statuses = Object.entries(end.statuses).map(([name, count]) => `${count} ${name}`).join(", ");
  const rate = `${perSecond.toFixed(0)} orders/s from POST to the end`;
  say(`all ended after ${seconds.toFixed(2)} s (${statuses}): ${rate}`);
  say(`of ${orders} orders: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms from POST to the end`);
}
