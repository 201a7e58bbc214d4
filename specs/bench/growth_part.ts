/**
 * Whether what one batch costs the relay's database grows with what is in the outbox.
 *
 * @module
 */
import { appendEvents } from "../support/test_events.ts";
import { v4 as uuidv4, v7 as uuidv7 } from "uuid";
import { readConfig } from "../../shared/process/config.ts";
import { type DomainEvent, makeEvent } from "../../shared/events.ts";
import type { OutgoingEvent } from "../../shared/broker/message.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { connect, type Sql, transaction } from "../../shared/sql/connect.ts";
import { CLAIM_SETTINGS, claimingEvents, markingPublished } from "../../shared/sql/outbox.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { type Bench, type BenchPart, type BenchRow, median } from "./bench.ts";
import { FILLED_PER_MS, fillOutbox } from "./fill_outbox.ts";

const MILLION = 1_000_000;
const TINY_MILLION = 1000;
/** Batches of one outbox in a row, before it is the next one's turn. */
const BURST = 8;
/** How often each has its turn. */
const TURNS = 5;

const { OUTBOX_PUBLISHER_BATCH_SIZE: BATCH } = readConfig(["OUTBOX_PUBLISHER_BATCH_SIZE"], () => undefined);

/** The part. */
export const growthPart: BenchPart = {
  name: "growth",
  about:
    "claim and mark of one batch with up to 5 million published and 1 million waiting events, beside none",
  async run(bench) {
    await using resources = new AsyncDisposableStack();
    const open = async () => resources.use(await openOutbox(bench));
    const [empty, waiting, published] = [await open(), await open(), await open()];
    const million = bench.size(MILLION, TINY_MILLION);
    const now = Date.now();
    const before = (events: number) => new Date(now - events / FILLED_PER_MS);

    bench.say(`filling one outbox with ${million} waiting events, one with as many published ones`);
    await fillOutbox(waiting.sql, { events: million, published: false, until: before(0) });
    await fillOutbox(published.sql, { events: million, published: true, until: before(4 * million) });
    bench.say("claiming and marking");
    const first = await inTurn(bench, [empty, waiting, published]);

    bench.say(`filling on to ${5 * million} published events`);
    await fillOutbox(published.sql, { events: 4 * million, published: true, until: before(0) });
    bench.say("claiming and marking");
    const second = await inTurn(bench, [empty, published]);

    const row = (what: string, times: Times, outbox: Outbox): BenchRow => ({
      what: `growth, claim + mark of ${BATCH}: ${what}`,
      unit: "ms",
      ours: median(times.get(outbox) ?? []),
      beside: median(times.get(empty) ?? []),
      goal: { atMost: 1.2 },
      note: `medians of ${times.get(outbox)?.length} batches each, in turn`,
    });
    const count = (millions: number) => (millions * million).toLocaleString("en");
    return [
      row(`${count(1)} published`, first, published),
      row(`${count(5)} published`, second, published),
      row(`${count(1)} waiting`, first, waiting),
    ];
  },
};

/** An outbox in a database of its own. */
interface Outbox extends AsyncDisposable {
  /** Its owner's connections. */
  readonly sql: TestSchema["sql"];
  /** A connection as the relay's. */
  readonly relay: Sql;
}

/**
 * Makes an outbox whose statistics say that it is empty, as they do until autovacuum comes by: it is left to that, and
 * nothing is vacuumed or analyzed once there are rows.
 */
async function openOutbox({ services }: Bench): Promise<Outbox> {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await services.database());
  await db.sql`analyze outbox_events`;
  const options = { name: "bench", role: "orderflow_relay", max: 1, settings: CLAIM_SETTINGS } as const;
  const relay = connect(db.url, options);
  resources.defer(() => relay.end({ timeout: 2 }));
  const owned = resources.move();
  return { sql: db.sql, relay, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** What each batch of an outbox took, in milliseconds. */
type Times = ReadonlyMap<Outbox, readonly number[]>;

/** Batches of each outbox, in turn: what else the machine does meanwhile then meets all of them. */
async function inTurn(bench: Bench, outboxes: readonly Outbox[]): Promise<Times> {
  const times = new Map(outboxes.map((outbox) => [outbox, [] as number[]]));
  for (const outbox of outboxes) await timeBatch(outbox); // statements are prepared, pages read
  for (let turn = 0; turn < bench.size(TURNS, 1); turn++) {
    for (const [outbox, taken] of times) {
      for (let batch = 0; batch < BURST; batch++) taken.push(await timeBatch(outbox));
    }
  }
  return times;
}

/** Appends a batch as a module does, then claims and marks one as the relay does, which is timed with its commit. */
async function timeBatch({ sql, relay }: Outbox): Promise<number> {
  await appendEvents(sql, Array.from({ length: BATCH }, newEvent));
  const startedMs = performance.now();
  const claimed = await transaction(relay, async (tx) => {
    const ids = (await claimingEvents(tx, BATCH)).map(({ id }) => id);
    await markingPublished(tx, ids);
    return ids.length;
  });
  const ms = performance.now() - startedMs;
  if (claimed !== BATCH) throw new Error(`A claim got ${claimed} events, not ${BATCH}`);
  return ms;
}

function newEvent(): OutgoingEvent<DomainEvent> {
  const data = {
    orderId: uuidv7(),
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
  };
  return makeEvent("order.created", data, { correlationId: uuidv4(), traceparent: null }, new Date());
}
