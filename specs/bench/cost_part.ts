/**
 * What one order costs on its way from the request to its end: what the database has counted, the messages that went
 * through the broker, and where the processor time of the machine went, as Linux tells it in /proc.
 *
 * @module
 */
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../support/eventually.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart, BenchRow } from "./bench.ts";
import { putLoadUnseen } from "./services.ts";

const CONNECTIONS = 64;

export const costPart: BenchPart = {
  name: "cost",
  about: "what one order costs: commits, rows, log, messages, bytes and processor time",
  async run(bench) {
    const warmUp = bench.size(500, 20);
    const orders = bench.size(6000, 60);
    await using db = await bench.services.database();
    const before = await readDatabaseCounts(db.sql);
    const usage = await flow(bench, db, { warmUp, orders });
    await sessionsEnded(db.sql);
    const after = await readDatabaseCounts(db.sql);
    const { published, publishedBytes, delivered, deliveredBytes } = await readMessages(db.sql);
    const all = warmUp + orders;
    const statements = after.statements === null ? null : after.statements - (before.statements ?? 0);
    const updated = after.updated - before.updated;
    const inPlace = after.updatedInPlace - before.updatedInPlace;
    const besides = "with what the processes do besides, from their start to their end";
    return [
      row("commits", "", (after.commits - before.commits) / all, besides),
      ...(statements === null ? [] : [row("statements", "", statements / all, besides)]),
      row("rows inserted", "", (after.inserted - before.inserted) / all),
      row("rows updated", "", updated / all, `${share(inPlace, updated)} without touching an index (HOT)`),
      row("write-ahead log", "bytes", (after.walBytes - before.walBytes) / all, "with first images of pages"),
      row("messages published", "", published / all),
      row("bytes published", "bytes", publishedBytes / all, "bodies alone"),
      row("messages delivered", "", delivered / all),
      row("bytes delivered", "bytes", deliveredBytes / all, "bodies alone"),
      ...cpuRows(usage, orders),
    ];
  },
};

interface Size {
  readonly warmUp: number;
  readonly orders: number;
}

/** Brings orders to their end and stops the system; answers with the processor time after the warm-up. */
async function flow(
  { services, say }: Bench,
  db: TestSchema,
  { warmUp, orders }: Size,
): Promise<MachineUsage> {
  await using broker = services.broker();
  await using stack = await startStack({}, { services: { db, broker } });
  say("warming up");
  await putLoadUnseen(stack.url, { orders: warmUp, connections: CONNECTIONS });
  await allProcessed(db.sql, warmUp);
  say(`${orders} orders`);
  const meter = await startMachineMeter(stack.pids());
  await putLoadUnseen(stack.url, { orders, connections: CONNECTIONS });
  await allProcessed(db.sql, warmUp + orders);
  return await meter.read();
}

/** Deliveries of an order that goes well. */
const DELIVERIES = 5;

/** Waits in one transaction, because each look would count as a commit of its own. */
async function allProcessed(sql: Sql, orders: number): Promise<void> {
  await transaction(sql, async (tx) => {
    await eventually(`${orders} orders to be through`, async () => {
      const [row] = await tx<{ processed: number; unpublished: boolean }[]>`
        select (select count(*)::int from processed_events) as processed,
               exists (select from outbox_events where published_at is null) as unpublished`;
      return row?.processed === orders * DELIVERIES && !row.unpublished;
    }, 120_000);
  });
}

/** Sessions hand in the last of their counts when they end. */
async function sessionsEnded(sql: Sql): Promise<void> {
  await eventually("the sessions of the system to end", async () => {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from pg_stat_activity
      where datname = current_database() and backend_type = 'client backend'
        and application_name <> (select current_setting('application_name'))`;
    return row?.count === 0;
  });
}

function cpuRows({ cpuSeconds }: MachineUsage, orders: number): BenchRow[] {
  return [...cpuSeconds]
    .map(([name, seconds]) => [name, seconds * 1000 / orders] as const)
    .filter(([name]) => name !== OTHERS && name !== BENCHMARK)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, ms]) => row(`processor time of ${name}`, "ms", ms));
}

function row(what: string, unit: string, ours: number, note?: string): BenchRow {
  return {
    what: `one order: ${what}`,
    unit,
    ours,
    beside: null,
    goal: null,
    ...(note === undefined ? {} : { note }),
  };
}

function share(part: number, whole: number): string {
  return `${(100 * part / whole).toFixed(0)} %`;
}

/** What a database has counted so far. A session hands in the last of its own when it ends. */
interface DatabaseCounts {
  readonly commits: number;
  readonly inserted: number;
  readonly updated: number;
  /** Rows updated in their page without touching an index (HOT). */
  readonly updatedInPlace: number;
  /** Bytes of the server's write-ahead log, whoever wrote them. */
  readonly walBytes: number;
  /** Statements; null where the server does not load `pg_stat_statements`. */
  readonly statements: number | null;
}

async function readDatabaseCounts(sql: Sql): Promise<DatabaseCounts> {
  const [row] = await sql<Omit<DatabaseCounts, "statements">[]>`
    select xact_commit::float8 as commits, tup_inserted::float8 as inserted, tup_updated::float8 as updated,
           (select coalesce(sum(n_tup_hot_upd), 0)::float8 from pg_stat_user_tables) as "updatedInPlace",
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "walBytes"
    from pg_stat_database where datname = current_database()`;
  if (!row) throw new Error("Cannot read what the database has counted: it answered with no row");
  return { ...row, statements: await countStatements(sql) };
}

async function countStatements(sql: Sql): Promise<number | null> {
  const [loaded] = await sql<{ libraries: string }[]>`
    select current_setting('shared_preload_libraries') as libraries`;
  if (!loaded?.libraries.includes("pg_stat_statements")) return null;
  await sql`create extension if not exists pg_stat_statements`;
  const [row] = await sql<{ calls: number }[]>`
    select coalesce(sum(calls), 0)::float8 as calls
    from pg_stat_statements join pg_database on pg_database.oid = dbid where datname = current_database()`;
  return row?.calls ?? 0;
}

/** Messages through the broker, and bytes of their bodies. */
interface MessageCounts {
  readonly published: number;
  readonly publishedBytes: number;
  readonly delivered: number;
  readonly deliveredBytes: number;
}

/** Counts the messages by what the outbox and the inbox say; none was sent twice in a flow without failures. */
async function readMessages(sql: Sql): Promise<MessageCounts> {
  const [row] = await sql<MessageCounts[]>`
    with published as (
      select id, octet_length(payload::text) as bytes from outbox_events where published_at is not null
    )
    select (select count(*)::float8 from published) as published,
           (select coalesce(sum(bytes), 0)::float8 from published) as "publishedBytes",
           count(*)::float8 as delivered, coalesce(sum(bytes), 0)::float8 as "deliveredBytes"
    from processed_events join published on id = event_id`;
  if (!row) throw new Error("Cannot count messages: the database answered with no row");
  return row;
}

/** A process of the machine. */
export interface MachineProcess {
  readonly program: string;
  /** The id of the process that started it. */
  readonly parent: number;
  /** Processor time since its start, in seconds: of all its threads, in user and kernel mode. */
  readonly cpuSeconds: number;
}

/** Linux counts processor time in hundredths of a second, whatever the kernel's own clock (USER_HZ, `man 5 proc`). */
const TICKS_PER_SECOND = 100;

/** Processes by their ids, from the lines of `/proc/<pid>/stat`. A line that says something else is left out. */
export function parseStats(text: string): Map<number, MachineProcess> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, pid, program, rest] = /^(\d+) \((.*)\) (.*)$/.exec(line) ?? []; // a program's name may contain spaces
      if (pid === undefined || program === undefined || rest === undefined) return [];
      const fields = rest.split(" ");
      const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
      return [[Number(pid), { program, parent: Number(fields[1]), cpuSeconds }]];
    }),
  );
}

/** A meter of the whole machine. */
export interface MachineMeter {
  /** What was used since the meter was started. */
  read(): Promise<MachineUsage>;
}

/** What was used in some time; empty where there is no /proc. */
export interface MachineUsage {
  readonly seconds: number;
  /**
   * Processor time in seconds, by name: the processes that were asked for by theirs, then `postgres`, `broker`,
   * `benchmark` (whoever reads the meter) and `others`. Without those that have ended meanwhile.
   */
  readonly cpuSeconds: ReadonlyMap<string, number>;
}

/** Starts a meter; `ours` are the processes that are shown by name. */
export async function startMachineMeter(ours: ReadonlyMap<string, number>): Promise<MachineMeter> {
  const startedMs = performance.now();
  const before = await readMachine();
  return {
    async read() {
      const after = await readMachine();
      const seconds = (performance.now() - startedMs) / 1000;
      return { seconds, cpuSeconds: usedBetween(before, after, ours, Deno.pid) };
    },
  };
}

/** The services, by the names of their programs. */
const SERVICES: ReadonlyMap<string, string> = new Map([["postgres", "postgres"], ["beam.smp", "broker"]]);

/** The name of the process that reads the meter. */
const BENCHMARK = "benchmark";
/** The name under which everybody goes who has nothing to do with the system. */
const OTHERS = "others";

/** Processor time used between two looks at the machine, in seconds; `self` is the process that looks. */
export function usedBetween(
  before: ReadonlyMap<number, MachineProcess>,
  after: ReadonlyMap<number, MachineProcess>,
  ours: ReadonlyMap<string, number>,
  self: number,
): Map<string, number> {
  const names = new Map([...ours].map(([name, pid]) => [pid, name]));
  const used = new Map<string, number>([...ours.keys()].map((name) => [name, 0]));
  for (const [pid, { program, parent, cpuSeconds }] of after) {
    // Besides the processes of ours, the embedded broker is the only lasting child of a benchmark.
    const isBroker = parent === self && program === "deno";
    const other = pid === self ? BENCHMARK : isBroker ? "broker" : SERVICES.get(program) ?? OTHERS;
    const name = names.get(pid) ?? other;
    used.set(name, (used.get(name) ?? 0) + cpuSeconds - (before.get(pid)?.cpuSeconds ?? 0));
  }
  return used;
}

/** What uses less than this share of a core is not worth a word. */
const WORTH_TELLING = 0.02;

/** The shares of a core, the largest first: `postgres 0.61, api 0.34`. */
export function describeShares({ seconds, cpuSeconds }: MachineUsage): string {
  return [...cpuSeconds]
    .map(([name, used]) => [name, used / seconds] as const)
    .filter(([, share]) => share >= WORTH_TELLING)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, share]) => `${name} ${share.toFixed(2)}`)
    .join(", ");
}

/**
 * All processes of this machine by their ids; none where there is no /proc. Through a program, because Deno itself may
 * read /proc only with every permission there is.
 */
async function readMachine(): Promise<Map<number, MachineProcess>> {
  if (Deno.build.os !== "linux") return new Map();
  const command = new Deno.Command("sh", {
    args: ["-c", "cat /proc/[0-9]*/stat 2>/dev/null"], // some end between the listing and the reading
    stdout: "piped",
    stderr: "null",
  });
  const { stdout } = await command.output();
  return parseStats(new TextDecoder().decode(stdout));
}
