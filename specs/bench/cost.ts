// deno-lint-ignore-file no-control-regex -- the regular expressions find messages among bytes
/**
 * What one order costs. Under load: what the database has counted, and where the processor time of the machine went. At rest: what it asks of the services, counted on the wire, where a proxy stands
 * before the database and one before the broker, so that no server needs a setting for it.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { startCutProxy, type Tap } from "../support/cut_proxy.ts";
import { eventually } from "../support/eventually.ts";
import { placeOrders } from "../support/place_orders.ts";
import { settled } from "../support/ledger.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart, BenchRow } from "./bench.ts";
import { putLoadUnseen, startFlowStack, startMachineMeter } from "./services.ts";

const CONNECTIONS = 64;

export const costPart: BenchPart = {
  name: "cost",
  about: "what one order costs: commits, rows, write-ahead log and processor time",
  async run(bench) {
    const warmUp = bench.size(500, 20);
    const orders = bench.size(6000, 60);
    await using db = await bench.services.database();
    const before = await readDatabase(db.sql);
    const cpuSeconds = await flow(bench, db, warmUp, orders);
    await sessionsEnded(db.sql);
    const after = await readDatabase(db.sql);
    const row = (what: string, unit: string, ours: number, note = ""): BenchRow => {
      return { what: `one order: ${what}`, unit, ours, beside: null, goal: null, note };
    };
    const all = warmUp + orders;
    const perOrder = (of: (counts: typeof after) => number) => (of(after) - of(before)) / all;
    const besides = "with what the processes do besides, from their start to their end";
    const updated = perOrder(({ updated }) => updated);
    const inPlace = (100 * perOrder(({ updatedInPlace }) => updatedInPlace) / updated).toFixed(0);
    return [
      row("commits", "", perOrder(({ commits }) => commits), besides),
      row("rows inserted", "", perOrder(({ inserted }) => inserted)),
      row("rows updated", "", updated, `${inPlace} % without touching an index (HOT)`),
      row("write-ahead log", "bytes", perOrder(({ walBytes }) => walBytes), "with first images of pages"),
      ...[...cpuSeconds].filter(([name]) => name !== "others" && name !== "benchmark")
        .toSorted(([, a], [, b]) => b - a)
        .map(([name, seconds]) => row(`processor time of ${name}`, "ms", seconds * 1000 / orders)),
    ];
  },
};

/** Brings orders to their end and stops the system; answers with what the machine used after the warm-up. */
async function flow({ services, say }: Bench, db: TestSchema, warmUp: number, orders: number) {
  await using broker = services.broker();
  await using stack = await startStack({}, { services: { db, broker } });
  say("warming up");
  await putLoadUnseen(stack.url, { orders: warmUp, connections: CONNECTIONS });
  await allProcessed(db.sql, warmUp);
  say(`${orders} orders`);
  const readMeter = await startMachineMeter(stack.pids());
  await putLoadUnseen(stack.url, { orders, connections: CONNECTIONS });
  await allProcessed(db.sql, warmUp + orders);
  return await readMeter();
}

/** Deliveries of an order that goes well. */
const DELIVERIES = 5;

/** Waits in one transaction, because each look would count as a commit of its own. */
async function allProcessed(sql: Sql, orders: number): Promise<void> {
  await transaction(sql, async (tx) => {
    await eventually(`${orders} orders to end`, async () => {
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

/** What a database has counted so far, and the server's whole write-ahead log. A session hands in its own when it ends. */
async function readDatabase(sql: Sql) {
  const [row] = await sql<
    Record<"commits" | "inserted" | "updated" | "updatedInPlace" | "walBytes", number>[]
  >`
    select xact_commit::float8 as commits, tup_inserted::float8 as inserted, tup_updated::float8 as updated,
           (select coalesce(sum(n_tup_hot_upd), 0)::float8 from pg_stat_user_tables) as "updatedInPlace",
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "walBytes"
    from pg_stat_database where datname = current_database()`;
  if (!row) throw new Error("Cannot read what the database has counted: it answered with no row");
  return row;
}

/** So many that the statements are prepared on every connection that a process has. */
const WARM_UP = { orders: 300, connections: 16 };
/** After an order has settled, in milliseconds: what it has set off besides, such as a last look of the relay, is over. */
const REST_MS = 100;

/** Starts to count. */
function nothing() {
  return {
    /** Times that a process waits for the database, by process. What leaves before an answer comes counts once. */
    roundTrips: new Map<string, number>(),
    /** Statements of heartbeats, which are left out of everything else: they are about the process. */
    heartbeats: 0,
    /** What gets an answer of its own, round trip or not. */
    statements: 0,
    publishes: 0,
    deliveries: 0,
    /**
     * How many steps in a row have led to where a process is: to the database and back, by way of the database to who
     * listens, by way of the broker to a consumer. As with Lamport's clocks, what a process did before counts as before,
     * whether or not it was the cause.
     */
    hops: new Map<string, number>(),
    /** The hops that had led to each statement, and to the last publish. */
    asked: [] as { readonly who: string; readonly hops: number }[],
    published: 0,
  };
}

type Passed = ReturnType<typeof nothing>;

const latin1 = new TextDecoder("latin1"); // a character for each byte
const PUBLISH = /\x01[^]{6}\0\x3c\0\x28/g; // frames of basic.publish and basic.deliver
const DELIVER = /\x01[^]{6}\0\x3c\0\x3c/g;
const STATEMENT = /S\0\0\0\x04|Q\0\0[^]{2}\w/g; // Sync, and a simple query
const [TERMINATE, NOTIFICATION] = [0x58, 0x41]; // the types of two messages of Postgres

/**
 * Makes a watch over all connections of a system to its services. It expects of a chunk that it begins with a whole
 * message, as it does where one order is on its way, and that a process names its connections `orderflow <name>`.
 */
export function watchWires() {
  let passed = nothing();
  const hopsOf = (who: string) => passed.hops.get(who) ?? 0;
  const reach = (who: string, from: number) => void passed.hops.set(who, Math.max(hopsOf(who), from + 1));
  const add = (to: Map<string, number>, who: string) => void to.set(who, (to.get(who) ?? 0) + 1);
  const count = (text: string, what: RegExp) => [...text.matchAll(what)].length;

  function database(): Tap {
    let who = "";
    let waiting: number | null = null; // the hops that had led to what is not answered yet
    const prepared = new Map<string, string>(); // statements by their names
    return {
      sent(bytes) {
        const text = latin1.decode(bytes);
        who ||= /application_name\0orderflow ([^\0]+)\0/.exec(text)?.[1] ?? "";
        for (const [, name = "", sql = ""] of text.matchAll(/P[^]{4}(\w+)\0([^\0]*)\0/g)) {
          prepared.set(name, sql);
        }
        const bound = [...text.matchAll(/B[^]{4}\0(\w+)\0/g)].map(([, name = ""]) =>
          prepared.get(name) ?? ""
        );
        const statements = count(text, STATEMENT);
        const heartbeats = bound.filter((sql) => sql.includes("heartbeats")).length;
        passed.heartbeats += heartbeats;
        if (bytes[0] === TERMINATE || (heartbeats > 0 && heartbeats === statements)) return;
        if (waiting === null) add(passed.roundTrips, who);
        waiting = hopsOf(who);
        passed.asked.push({ who, hops: waiting });
        passed.statements += statements;
      },
      received(bytes) {
        if (waiting !== null) reach(who, waiting);
        else if (bytes[0] === NOTIFICATION) {
          reach(who, passed.asked.findLast((other) => other.who !== who)?.hops ?? 0);
        }
        waiting = null;
      },
    };
  }

  function broker(): Tap {
    let who = "";
    return {
      sent(bytes) {
        const text = latin1.decode(bytes);
        who ||= /connection_nameS[^]{4}orderflow ([\w.-]+)/.exec(text)?.[1] ?? "";
        const found = count(text, PUBLISH);
        passed.publishes += found;
        if (found > 0) passed.published = hopsOf(who);
      },
      received(bytes) {
        const found = count(latin1.decode(bytes), DELIVER);
        passed.deliveries += found;
        if (found > 0) reach(who, passed.published);
      },
    };
  }

  /** What has passed since the last call. */
  function take(): Passed {
    const taken = passed;
    passed = nothing();
    return taken;
  }

  return { database, broker, take };
}

/** Orders come one at a time. What most of them do counts: at times a poll falls between. */
export const hopsPart: BenchPart = {
  name: "hops",
  about: "what one order at rest asks of the services: round trips, commits, messages, hops in a row",
  async run({ services, size, say }) {
    const wires = watchWires();
    await using resources = new AsyncDisposableStack();
    const via = (urls: { readonly database: string; readonly broker: string }) => ({
      database: resources.use(startCutProxy(urls.database, 5432, wires.database)).url,
      broker: resources.use(startCutProxy(urls.broker, 5672, wires.broker)).url,
    });
    await using stack = await startFlowStack(services, { via });
    const nextTransaction = async () => { // only what writes or notifies has a number
      const rows = await stack.db.sql<{ id: number }[]>`
        select pg_snapshot_xmax(pg_current_snapshot())::text::float8 as id`;
      return rows[0]?.id ?? 0;
    };
    const count = size(40, 3);
    say(`${count} orders one at a time, after a warm-up`);
    await placeOrders(stack.url, WARM_UP);
    await settled(stack);
    const orders: CountedOrder[] = [];
    for (let n = 0; n < count; n++) {
      await delay(REST_MS);
      wires.take();
      const before = await nextTransaction();
      await placeOrders(stack.url, { orders: 1, connections: 1 });
      await settled(stack);
      await delay(REST_MS);
      orders.push({ ...wires.take(), writes: await nextTransaction() - before });
    }
    return hopRows(orders, stack.broker.topology.queues.ordersLifecycleEvents.name);
  },
};

/** What an order asked for, with the number of transactions that wrote or notified. */
export type CountedOrder = Omit<Passed, "asked" | "published"> & { readonly writes: number };

/** The lines; `last` is the process whose step is an order's last. Pure. */
export function hopRows(orders: readonly CountedOrder[], last: string): BenchRow[] {
  const usual = (of: (order: CountedOrder) => number) => mostFrequent(orders.map(of));
  const row = (what: string, of: (order: CountedOrder) => number, atMost?: number, note = "") => ({
    what: `one order at rest: ${what}`,
    unit: "",
    ours: usual(of),
    beside: null,
    goal: atMost === undefined ? null : { atMost },
    note,
  });
  const each = [...new Set(orders.flatMap(({ roundTrips }) => [...roundTrips.keys()]))]
    .map((who) =>
      [who.replace(/^test\.\w+\./, ""), usual(({ roundTrips }) => roundTrips.get(who) ?? 0)] as const
    )
    .filter(([, trips]) => trips > 0);
  return [
    row(
      "database round trips",
      ({ roundTrips }) => roundTrips.values().reduce((sum, trips) => sum + trips, 0),
      16,
      each.map(([who, trips]) => `${who} ${trips}`).join(", "),
    ),
    row("statements, begin and commit among them", ({ statements }) => statements),
    row("commits", ({ writes, heartbeats }) => writes - heartbeats),
    row("publishes", ({ publishes }) => publishes),
    row("deliveries", ({ deliveries }) => deliveries),
    row(
      "hops in a row",
      ({ hops }) => hops.get(last) ?? 0,
      11,
      "to the database and back, to a listener, to a consumer",
    ),
  ];
}

function mostFrequent(values: readonly number[]): number {
  const groups = [...Map.groupBy(values, (value) => value)];
  const [most] = groups.toSorted(([a, as], [b, bs]) => bs.length - as.length || a - b);
  return most?.[0] ?? 0;
}
