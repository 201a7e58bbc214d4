/**
 * `deno task load`: puts load on a running system, waits until all of its orders have ended, and says how fast that was.
 * It knows no more of the system than `POST /orders` and the columns `id` and `status` of the table `orders`. The exit
 * code is 0 when all orders were created and, where it waits, have ended; 1 when not; 64 for a wrong usage.
 *
 * @module
 */
import { EXIT_DONE, runCommand, startProgress } from "../workers/tools/command.ts";
import { messageOf } from "../shared/process/errors.ts";
import { connect, KEYED_SETTINGS, type Sql } from "../shared/sql/connect.ts";
import { type EndWatch, type SeenEnd, watchEnds } from "./bench/load_ends.ts";
import { type LoadFlags, readLoadFlags, USAGE } from "./bench/load_flags.ts";
import { type LoadReport, quantiles } from "./bench/load_report.ts";
import { type Sample, sendOrders, type SentOrders } from "./bench/send_orders.ts";

/** The longest to wait for the ends, in milliseconds. */
const ENDS_MS = 300_000;
/** One order in so many milliseconds is watched for its latency: up to 50 a second. */
const WATCH_EVERY_MS = 20;
/** A request this late means that the rate was more than the system, or the connections, could take. */
const LATE_MS = 100;

if (import.meta.main) {
  const read = (args: readonly string[]) => readLoadFlags(args, Deno.env.get("DATABASE_URL") || undefined); // empty: unset
  Deno.exit(await runCommand({ task: "load", usage: USAGE, read, run }, Deno.args));
}

async function run(flags: LoadFlags): Promise<number> {
  await load(flags);
  return EXIT_DONE;
}

async function load(flags: LoadFlags): Promise<void> {
  const say = flags.json ? () => {} : (line: string) => console.log(line);
  if (flags.database === null) {
    const report = reportOf(await send(flags, say), null);
    if (flags.json) console.log(JSON.stringify(report));
    return;
  }
  const sql = connect(flags.database, {
    name: "load",
    role: null,
    max: 2,
    settings: KEYED_SETTINGS,
  });
  try {
    await sql`select id, status from orders limit 0`.catch((error) => { // before there is any load
      throw new Error(`Cannot read the table orders of --database: ${messageOf(error)}`, { cause: error });
    });
    const watch = watchEnds(sql);
    const sent = await send(flags, say, watch);
    const report = reportOf(sent, await endsOf(sent, sql, watch));
    if (flags.json) console.log(JSON.stringify(report));
    else sayEnds(report, say);
  } finally {
    await sql.end({ timeout: 2 });
  }
}

/** Sends the orders, has some of them watched, and says how that went. */
async function send(flags: LoadFlags, say: (line: string) => void, watch?: EndWatch): Promise<SentOrders> {
  const sample = watch && { everyMs: WATCH_EVERY_MS, take: watch.add };
  const sent = await sendAll(flags, sample);
  const { orders, perSecond, post, cpuShare } = reportOf(sent, null);
  say(
    `${orders} orders over ${flags.connections} connections: ${perSecond.toFixed(0)}/s, ` +
      `p50 ${post.p50.toFixed(1)} ms, p99 ${post.p99.toFixed(1)} ms; ` +
      `the generator took ${(cpuShare * 100).toFixed(0)} % of a core`,
  );
  if (sent.lateMs > LATE_MS) {
    console.error(
      `The rate of ${flags.rate}/s was not kept: a request was sent ${
        sent.lateMs.toFixed(0)
      } ms after it was due.`,
    );
  }
  return sent;
}

async function sendAll(flags: LoadFlags, sample: Sample | undefined): Promise<SentOrders> {
  using progress = startProgress("orders", flags.orders);
  return await sendOrders(flags.url, { ...flags, sample, onCreated: progress.at });
}

interface Ends {
  readonly all: readonly SeenEnd[];
  readonly watched: readonly SeenEnd[];
}

/** How all orders ended, and those that were watched from their beginning. */
async function endsOf(sent: SentOrders, sql: Sql, watch: EndWatch): Promise<Ends> {
  const rest = watchEnds(sql);
  for (const id of sent.ids) rest.add(id, sent.startedMs);
  using progress = startProgress("orders ended", sent.ids.length);
  const [all, watched] = await Promise.all([
    rest.allEnded(ENDS_MS, progress.at),
    watch.allEnded(ENDS_MS),
  ]);
  return { all, watched };
}

function reportOf(
  { ids, startedMs, seconds, latenciesMs, cpuShare }: SentOrders,
  ends: Ends | null,
): LoadReport {
  const orders = ids.length;
  const report = { orders, seconds, perSecond: orders / seconds, post: quantiles(latenciesMs), cpuShare };
  if (!ends) return { ...report, end: null };
  const endSeconds = ((ends.all.at(-1)?.seenMs ?? startedMs) - startedMs) / 1000;
  const statuses = Object.groupBy(ends.all, ({ status }) => status);
  return {
    ...report,
    end: {
      seconds: endSeconds,
      perSecond: orders / endSeconds,
      statuses: Object.fromEntries(Object.entries(statuses).map(([name, of]) => [name, of?.length ?? 0])),
      latency: quantiles(ends.watched.map(({ latencyMs }) => latencyMs)),
      watched: ends.watched.length,
    },
  };
}

function sayEnds({ end }: LoadReport, say: (line: string) => void): void {
  if (!end) return;
  const statuses = Object.entries(end.statuses).map(([name, count]) => `${count} ${name}`).join(", ");
  say(
    `all ended after ${end.seconds.toFixed(2)} s (${statuses}): ` +
      `${end.perSecond.toFixed(0)} orders/s from POST to the end`,
  );
  say(
    `of ${end.watched} orders: p50 ${end.latency.p50.toFixed(1)} ms, p99 ${end.latency.p99.toFixed(1)} ms ` +
      "from POST to the end",
  );
}
