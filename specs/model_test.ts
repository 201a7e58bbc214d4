// Whatever the broker, the relay, the processes, their clocks, clients, strangers and operators do, orders end right and
// are right at every moment. What can happen is the list `MOVES`; a failure tells the shortest history that was found.

import type { Channel, ConsumeMessage } from "amqplib";
import fc from "fast-check";
import { Buffer } from "node:buffer";
import { assert, assertEquals } from "@std/assert";
import { createOrderPlacer } from "../api/place_orders.ts";
import { aboutOf, ageOf, deadLetterOf, type Delivery, receive, retryOf } from "../shared/broker/message.ts";
import { toExchange } from "../shared/broker/publish.ts";
import { ackDeliveries, type NextStep, nextStep, type Outcome } from "../shared/broker/settle.ts";
import { type DomainEvent, type EventType, parseEvent } from "../shared/events.ts";
import { runAudit } from "../shared/ops/audit.ts";
import {
  discardSet,
  prepareLetters,
  prepareReplay,
  readHorizon,
  republishEvent,
  startReplay,
} from "../shared/ops/replays.ts";
import { redriveLetters } from "../shared/ops/send_again.ts";
import type { OrderStatus } from "../shared/order_status.ts";
import { messageOf } from "../shared/process/errors.ts";
import type { Logger } from "../shared/process/log.ts";
import { SCENARIO_USER } from "../shared/scenarios.ts";
import { transaction, uuids } from "../shared/sql/connect.ts";
import type { WakeUps } from "../shared/sql/outbox.ts";
import { createSetAside, type NewDeadLetter, type NewRetry } from "../shared/sql/set_aside.ts";
import { connectionLost } from "../shared/sql/socket.ts";
import { CONSUMED_TYPES } from "../shared/topology.ts";
import { relayBatch } from "../workers/relay/relay.ts";
import { sendDueMessages } from "../workers/relay/replay.ts";
import { keepPruning } from "../workers/relay/retention.ts";
import { sendDue } from "../workers/relay/retries.ts";
import { testClock } from "./support/test_clock.ts";
import { testLog } from "./support/test_log.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";
import {
  type Copy,
  DAY_MS,
  DEATH,
  type Effects,
  HOUR_MS,
  isRetry,
  type Known,
  MAX_DAYS_OFF,
  MINUTE_MS,
  type Modelled,
  moduleOf,
  openWorld,
  picked,
  RETENTION_DAYS,
  STORIES,
  type Story,
  type Way,
  WAYS,
  type World,
} from "./support/model_world.ts";

shareTestSchema();

const RUNS = Number(Deno.env.get("MODEL_RUNS")) || 40;
/** So many meet everything that there is to be met. */
const MANY_RUNS = 300;
/** Repeats the histories of a run; what runs at the same time may still end in another order. */
const SEED = Number(Deno.env.get("MODEL_SEED")) || Math.floor(Math.random() * 2 ** 31);
/** More than the longest chain of events, times the looks that an early one needs. */
const MAX_ROUNDS = 60;
/** How long to look for a shorter history that fails as well, in milliseconds. */
const SHRINK_MS = 60_000;
const RETRY_POLICY = { maxRetries: 2, earlyMs: 5 * MINUTE_MS };

/** How the placing of orders can go wrong. */
const PLACINGS = {
  fine: "",
  unanswered: "; the connection is lost after the commit",
  refused: "; the database refuses one more among them",
  halved: "; the database refuses one more among them, and is gone once a half is stored",
} as const;
type Placing = keyof typeof PLACINGS;

/** What is wrong with what strangers send: the reasons of its dead letters. */
const STRANGERS = ["unknown version", "invalid payload", "unexpected type"] as const;

/** A number that picks among what is there at that time. */
const any = fc.nat(1000);
const some = (min: number, max: number) => fc.array(any, { minLength: min, maxLength: max, size: "max" });
const oneOf = <T>(...values: readonly (readonly [weight: number, value: T])[]) =>
  fc.oneof(...values.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
type Of<A> = A extends fc.Arbitrary<infer T> ? T : never;

const stories = fc.constantFrom<Story[]>("success", "declined", "noSeat");
const group = fc.record({
  stories: fc.array(stories, { minLength: 1, maxLength: 4 }),
  placing: oneOf<Placing>([5, "fine"], [1, "unanswered"], [1, "refused"], [1, "halved"]),
});
/** A consumer that is handed a batch. Of two for one, each is a copy's. */
const hand = fc.record({
  consumer: any,
  waiting: some(0, 8),
  repeats: some(0, 2), // the broker delivers what was acked once more
  isImpatient: fc.boolean(), // what is early it sets aside, instead of looking at it again
  way: oneOf<Way>([5, "fine"], [2, "uncommitted"], [1, "deaf"], [1, "silent"]),
});
const hands = fc.array(hand, { minLength: 1, maxLength: 3, size: "max" });
const deaths = oneOf([6, false], [1, true]);
const locked = fc.record({ consumer: any, waiting: some(1, 4) });
const forgery = fc.record({ copied: any, fault: fc.constantFrom(...STRANGERS) });
const wanted = fc.record({ order: fc.option(any), consumer: fc.option(any) });
const hours = oneOf([2, 1 / 30], [1, 2], [2, 12 * 24], [2, 31 * 24]);
const hoursOff = oneOf([1, 0], [1, 3], [1, -3], [2, 24 * MAX_DAYS_OFF], [2, -24 * MAX_DAYS_OFF]);

/** All that can happen: how often, what is chosen by chance or how it is told, and what it is. */
const MOVES = [
  move(6, group, placeOrders),
  move(2, any, askAgain),
  move(6, deaths, relayEvents),
  move(14, hands, handOut),
  move(6, fc.option(any, { freq: 2 }), workOn),
  move(2, locked, holdLocks),
  move(3, fc.boolean(), silenceProvider),
  plain(2, "a day passes, and the provider forgets its idempotency keys", forgetKeys),
  move(4, hours, passTime),
  move(3, hoursOff, setClocks),
  plain(2, "the relay sends the retries that are due", sendRetries),
  plain(3, "reconciliation has a pass", reconcile),
  move(2, fc.option(any), loseQueues),
  move(2, forgery, forge),
  plain(2, "an operator redrives all dead letters", redrive),
  plain(1, "an operator discards the letters of strangers", discard),
  move(1, wanted, prepareOne),
  plain(1, "an operator starts the replay that was prepared first, and it runs to its end", replayOne),
  move(2, any, republish),
];

/** What the histories of a run must have led to, so that they stay as wild as they are meant. */
const OUTCOMES = ["done", "duplicate", "early", "failed", "rejected"];
const EXPECTED = [...OUTCOMES, "unanswered", "halved", "copies at once", DEATH];

Deno.test("orders end right under any history of deliveries, repeats, races and deaths, and are right at every step of it", async () => {
  await using db = await testSchema();
  using clock = testClock();
  await using world = await openWorld(db, clock);
  /** Plays a history. Answers with how it failed, told as a story; null where it did not. */
  async function failureOf(moves: readonly Move[]): Promise<Error | null> {
    await world.begin();
    try {
      for (const move of moves) {
        await move(world);
        await check(world);
      }
      await settle(world);
      return null;
    } catch (error) {
      const story = world.story.map((line, i) => `${i + 1}. ${line}`).join("\n");
      return new Error(`With MODEL_SEED=${SEED}:\n${story}\nand then: ${messageOf(error)}`, { cause: error });
    }
  }
  let failed: readonly Move[] | null = null;
  const histories = fc.array(fc.oneof(...MOVES), { maxLength: 40, size: "max" });
  const property = fc.asyncProperty(histories, async (moves) => {
    if (await failureOf(moves) !== null) failed = moves;
    return failed === null;
  });
  const startedMs = performance.now();
  await fc.check(property, { numRuns: RUNS, seed: SEED, endOnFailure: true });
  const aMinute = Math.round(RUNS * MINUTE_MS / (performance.now() - startedMs));
  if (failed) throw await shortest(failed, failureOf);
  if (RUNS > 40) console.log(`${aMinute} histories a minute`, world.met);
  const never = EXPECTED.filter((what) => !world.met[what]);
  // In fewer, what is rare may be missing by chance.
  if (RUNS >= MANY_RUNS) assertEquals(never, [], "the histories have become too tame to prove anything");
});

/** What can happen: it is made, and then all is looked at. */
type Move = (world: World) => unknown;

/** How the shortest history fails that is left when ever smaller parts are taken out of one that fails. */
async function shortest(
  moves: readonly Move[],
  failureOf: (moves: readonly Move[]) => Promise<Error | null>,
): Promise<Error> {
  const endMs = performance.now() + SHRINK_MS;
  let failure = await failureOf(moves) ?? new Error(`MODEL_SEED=${SEED} has failed, and not once more`);
  for (let size = moves.length; size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < moves.length && performance.now() < endMs;) {
      const fewer = moves.toSpliced(at, size);
      const shorter = await failureOf(fewer);
      if (shorter === null) at += size;
      else [moves, failure] = [fewer, shorter];
    }
  }
  return failure;
}

/** A move with what is chosen by chance for it. */
function move<T>(weight: number, choices: fc.Arbitrary<T>, run: (world: World, choice: T) => unknown) {
  return { weight, arbitrary: choices.map((choice): Move => (world) => run(world, choice)) };
}

/** A move with nothing to choose. */
function plain(weight: number, words: string, run: Move) {
  return move(weight, fc.constant(words), (world) => {
    world.tell(words);
    return run(world);
  });
}

/** Clients place orders, each under its own Idempotency-Key, and ask again until each has an answer. */
async function placeOrders(world: World, { stories, placing }: Of<typeof group>): Promise<void> {
  const asked = stories.map((story, i) => orderOf(world, story, world.orders.size + i + 1));
  world.tell(`clients place ${listed(asked)}${PLACINGS[placing]}`);
  world.count(placing);
  for (const order of asked) world.orders.set(order.key, order);
  const dear = { ...orderOf(world, "success", 0), amount: "99999999999.00" };
  const isSpoilt = placing === "refused" || placing === "halved";
  const together = isSpoilt ? asked.toSpliced(Math.ceil(asked.length / 2), 0, dear) : asked;
  await place(world, together, wakeUpsOf(placing));
  const rows = await world.db.sql<{ key: string }[]>`select correlation_id as key from orders`;
  const untold = asked.filter(({ key, id }) => id === null && rows.some((row) => row.key === key));
  assert(
    placing === "unanswered" || untold.length === 0,
    `stored, and told that it is not: ${listed(untold)}`,
  );
  await place(world, asked.filter(({ id }) => id === null), wakeUpsOf("fine"));
  assertEquals(listed(asked.filter(({ id }) => id === null)), "", "asked again, and without an answer");
}

function orderOf(world: World, story: Story, n: number): Modelled {
  const [label, placedAtMs] = [`order ${n} (${story})`, world.databaseMs()];
  return { key: `key-${n}`, label, story, amount: "49.90", placedAtMs, id: null, seen: "PENDING" };
}

const listed = (orders: readonly Modelled[]) => orders.map(({ label }) => label).join(", ");

/** A process of the API places orders, all at once. Those that are answered have their ids then. */
async function place(world: World, orders: readonly Modelled[], wakeUps: WakeUps): Promise<void> {
  const placeOrder = createOrderPlacer(world.as("orderflow_orders"), wakeUps, testLog);
  const answers = await Promise.allSettled(orders.map(({ story, amount, key }) => {
    const request = { userId: SCENARIO_USER, courseId: STORIES[story].courseId, amount };
    return placeOrder(request, { correlationId: key, traceparent: null }, key);
  }));
  for (const [i, order] of orders.entries()) {
    const answer = answers[i];
    if (answer?.status !== "fulfilled") continue;
    const { id } = answer.value;
    assertEquals(id, order.id ?? id, `a second order under the key of ${order.label}`);
    order.id = id;
  }
}

/** What is around each statement that stores orders, as it wakes the relay: the connection is lost there. */
function wakeUpsOf(placing: Placing): WakeUps {
  let stored = 0;
  return {
    async carry(run) {
      if (placing === "halved" && stored > 0) throw connectionLost();
      const rows = await run(false);
      if (placing === "unanswered") throw connectionLost();
      stored++;
      return rows;
    },
  };
}

/** Those whose keys are kept for certain. */
function youngOrders({ orders, databaseMs }: World): Modelled[] {
  const sinceMs = databaseMs() - (RETENTION_DAYS - 1) * DAY_MS;
  return [...orders.values()].filter(({ placedAtMs }) => placedAtMs > sinceMs);
}

async function askAgain(world: World, n: number): Promise<void> {
  const [order] = picked(youngOrders(world), [n]);
  if (!order) return;
  world.tell(`the client of ${order.label} asks again, under the same key`);
  await place(world, [order], wakeUpsOf("fine"));
}

async function relayEvents(world: World, dies: boolean): Promise<void> {
  world.tell(`the relay publishes what waits${dies ? ", and dies before it has marked it" : ""}`);
  if (dies) world.count("the relay dies");
  await publishOutbox(world, dies);
}

/** Answers with how many events the relay has found. */
async function publishOutbox(world: World, dies = false): Promise<number> {
  const { publisher } = world.broker;
  const dying: typeof publisher = {
    async publish(...args) {
      await publisher.publish(...args);
      throw new Error(DEATH);
    },
  };
  try {
    const route = toExchange(world.topology.exchange, CONSUMED_TYPES);
    return (await relayBatch(world.session, dies ? dying : publisher, route, 10_000)).claimed;
  } catch (error) {
    if (messageOf(error) !== DEATH) throw error;
    return 0;
  }
}

async function handOut(world: World, given: Of<typeof hands>): Promise<void> {
  const batches = given.map(({ consumer: n, waiting, repeats, way, isImpatient }) => {
    const consumer = world.busyConsumer(n);
    const queue = world.broker.queue(consumer);
    const first = new Set(picked(queue.waiting, waiting));
    const again = picked(queue.acked, repeats).map((copy) => ({ ...copy }));
    queue.waiting.push(...again);
    for (const copy of again) if (isRetry(copy)) world.failures.set(`${consumer} ${copy.eventId}`, Infinity);
    const copies = [...first, ...again];
    if (copies.length > 0) world.tell(`${consumer} gets ${world.words(copies)}, ${WAYS[way]}`);
    return { consumer, copies, way, isImpatient };
  });
  const names = batches.flatMap(({ consumer, copies }) => copies.length > 0 ? [consumer] : []);
  if (new Set(names).size < names.length) world.count("copies at once");
  await allDone(batches.map((batch) => deliver(world, batch)));
}

async function workOn(world: World, n: number | null): Promise<void> {
  const [absent] = n === null ? [] : picked(world.consumers, [n]);
  world.tell(`the relay and all consumers${absent ? ` but ${absent}` : ""} work for a while`);
  for (let round = 0; round < 2; round++) await workOnce(world, absent);
}

async function workOnce(world: World, absent?: string): Promise<number> {
  const published = await publishOutbox(world);
  const present = world.consumers.filter((consumer) => consumer !== absent);
  await allDone(present.map((consumer) => deliver(world, { consumer, copies: world.waiting(consumer) })));
  return published;
}

/** For longer than a consumer waits for a lock. */
async function holdLocks(world: World, choice: Of<typeof locked>): Promise<void> {
  const consumer = world.busyConsumer(choice.consumer);
  const copies = [...new Set(picked(world.waiting(consumer), choice.waiting))];
  if (copies.length === 0) return;
  world.tell(`${consumer} gets ${world.words(copies)}, ${WAYS.locked}`);
  const ids = uuids(copies.flatMap(({ orderId }) => orderId ?? []));
  await transaction(world.db.sql, async (tx) => {
    await tx`select from orders where id = any(${ids}::text::uuid[]) for update`;
    await tx`select from payments where order_id = any(${ids}::text::uuid[]) for update`;
    await deliver(world, { consumer, copies, way: "locked", isImpatient: true });
  });
}

/** For so long that whatever asks it is given up on; and once more, where that is redriven too soon. */
async function silenceProvider(world: World, isRedriven: boolean): Promise<void> {
  const end = isRedriven ? "; redriven too soon, it is one once more" : "";
  world.tell(`the provider is silent, until what asks it is a dead letter${end}`);
  const asking = world.consumers.filter((consumer) => moduleOf(consumer) === "payments");
  const tries = RETRY_POLICY.maxRetries + 1;
  for (let tried = 0; tried < (isRedriven ? 2 : 1) * tries; tried++) {
    if (tried === tries) await redrive(world);
    for (const consumer of asking) {
      await deliver(world, { consumer, copies: world.waiting(consumer), way: "silent", isImpatient: true });
    }
    await world.pass(2 * MINUTE_MS);
    await sendRetries(world);
  }
}

async function forgetKeys(world: World): Promise<void> {
  await world.pass(DAY_MS);
  const rows = await world.db.sql<{ key: string }[]>`
    select order_id as key from payments union all select id from payments where status = 'REFUND_SUCCEEDED'`;
  for (const { key } of rows) world.money.forgotten.add(key);
}

/** Retention has its rounds: one of them is enough. */
async function passTime(world: World, hours: number): Promise<void> {
  const days = `${hours / 24} days pass; retention deletes what is older than ${RETENTION_DAYS}`;
  world.tell(hours < 24 ? `${hours * 60} minutes pass` : days);
  await world.pass(hours * HOUR_MS);
  if (hours >= 24) await retain(world);
}

async function setClocks(world: World, hours: number): Promise<void> {
  const off = `${Math.abs(hours)} hours ${hours > 0 ? "ahead of" : "behind"} the database's`;
  world.tell(`from now on the clocks of all processes are ${hours === 0 ? "right" : off}`);
  await world.pass(0, hours * HOUR_MS);
}

async function sendRetries(world: World): Promise<number> {
  return (await sendDue(world.as("orderflow_relay"), world.broker.publisher)).sent;
}

/** Answers with how much is lost, for all that is known. */
async function reconcile(world: World): Promise<number> {
  const depths = world.consumers.map((queue) => {
    return { queue, messages: world.waiting(queue).length, consumers: 1 };
  });
  const wire = { publisher: world.broker.publisher, readQueues: () => Promise.resolve(depths) };
  const { resent, lost } = await world.reconciler().pass(wire);
  if (Object.keys(resent).length > 0) world.count("sent again");
  return lost;
}

/** A round says that it is done only if it has deleted something: a row is put there for it. */
async function retain(world: World): Promise<void> {
  const { bindings, db: { sql } } = world;
  await sql`insert into suspect_deliveries values ('nobody', '', 1, '-infinity') on conflict do nothing`;
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  const warning = (_: string, { error }: { error: string }) => reject(new Error(error));
  const log: Logger = Object.assign(Object.create(testLog), { info: () => resolve(), warning });
  const stop = new AbortController();
  const options = { sql: world.as("orderflow_retention"), days: RETENTION_DAYS, bindings, log };
  const pruning = keepPruning(options, stop.signal);
  await done.finally(() => stop.abort());
  await pruning;
}

function loseQueues(world: World, n: number | null): void {
  const consumers = n === null ? world.consumers : [world.busyConsumer(n)];
  world.tell(`the broker loses what is in ${n === null ? "all its queues" : consumers}`);
  for (const consumer of consumers) {
    if (world.waiting(consumer).length > 0) world.count("lost");
    world.broker.queue(consumer).waiting = [];
  }
}

/** A stranger sends a consumer a message with the id of a real event, if there is one that it lacks. */
async function forge(world: World, { copied, fault }: Of<typeof forgery>): Promise<void> {
  const pairs = (await readEvents(world)).flatMap((event) => {
    const bound = world.bindings.filter(({ type }) => type === event.type);
    return bound.map(({ consumer }) => ({ ...event, consumer }));
  });
  const open = pairs.filter(({ id, consumer }) => !world.processed.has(`${consumer} ${id}`));
  const [event] = picked(open.length > 0 ? open : pairs, [copied]);
  if (!event) return;
  const { orderId, payload, consumer } = event;
  world.tell(`a stranger sends ${consumer} a copy of ${world.about(event)}: ${fault}`);
  const notice = { orderId, notificationId: orderId, notificationType: "ORDER_COMPLETED" };
  const wrong = {
    "unknown version": { version: 2 },
    "invalid payload": { data: { orderId } },
    "unexpected type": { type: "notification.sent", data: notice },
  }[fault];
  world.broker.send("", consumer, Buffer.from(JSON.stringify({ ...payload, ...wrong })), {});
}

function readEvents({ db: { sql } }: World) {
  return sql<{ id: string; type: EventType; orderId: string; payload: object }[]>`
    select id, type, order_id as "orderId", payload from outbox_events order by id`;
}

/** All open letters are sent again. They come without a past: with all retries, if no other copy is on its way. */
async function redrive(world: World): Promise<number> {
  const letters = await world.db.sql<{ consumer: string; key: string; isDue: boolean }[]>`
    select consumer, consumer || ' ' || event_id as key, exists (
      select from delayed_retries r where r.event_id = d.event_id and r.consumer = d.consumer and due_at is not null
    ) as "isDue" from dead_letters d where state = 'OPEN'`;
  if (letters.length === 0) return 0;
  world.count("redriven");
  for (const { consumer, key, isDue } of letters) {
    const isWaiting = world.waiting(consumer).some(({ eventId }) => `${consumer} ${eventId}` === key);
    world.failures.set(key, isDue || isWaiting ? Infinity : 0);
  }
  const { publisher } = world.broker;
  await transaction(world.as("orderflow_ops"), async (tx) => {
    return await redriveLetters(tx, publisher, (await prepareLetters(tx, {})).id);
  });
  return letters.length;
}

async function discard(world: World): Promise<void> {
  for (const reason of STRANGERS) {
    const ops = world.as("orderflow_ops");
    await discardSet(ops, (await prepareLetters(ops, { reason })).id, "nobody's");
  }
}

async function prepareOne(world: World, choice: Of<typeof wanted>): Promise<void> {
  const [order] = picked([...world.orders.values()], choice.order === null ? [] : [choice.order]);
  const [consumer] = picked(world.consumers, choice.consumer === null ? [] : [choice.consumer]);
  const what = order?.label ?? "order.created of all orders";
  world.tell(`an operator prepares a replay of ${what} to ${consumer ?? "everybody"}`);
  const which = order?.id ? { orderId: order.id } : { type: "order.created" as const };
  const filter = { ...which, ...(consumer ? { consumer } : {}) };
  const ops = world.as("orderflow_ops");
  const horizon = await readHorizon(ops, RETENTION_DAYS);
  const { replay } = await prepareReplay(ops, filter, world.bindings, horizon);
  if (replay) world.prepared.push(replay.id);
}

async function replayOne(world: World): Promise<void> {
  const id = world.prepared.shift();
  if (!id || !await startReplay(world.as("orderflow_ops"), id, 5000)) return;
  world.count("replayed");
  await sendSets(world);
}

async function sendSets(world: World): Promise<void> {
  const exchange = toExchange(world.topology.exchange, CONSUMED_TYPES);
  const options = { sql: world.as("orderflow_relay"), exchange, retentionDays: RETENTION_DAYS };
  for (let isRunning = true; isRunning;) {
    await world.pass(1000);
    const sent = await sendDueMessages(options, world.broker.publisher);
    isRunning = sent?.progress.state === "RUNNING";
  }
}

async function republish(world: World, n: number): Promise<void> {
  const [event] = picked(await readEvents(world), [n]);
  if (!event) return;
  world.tell(`an operator has ${world.about(event)} published again`);
  await republishEvent(world.as("orderflow_ops"), event.id, world.bindings);
  await sendSets(world);
}

/** All that is broken is mended, and everybody works on until nothing is left to do. Then all is as it must be. */
async function settle(world: World): Promise<void> {
  world.tell("all is mended, clients ask again, and everybody works on until nothing is left to do");
  await world.pass(0, 0);
  await place(world, youngOrders(world), wakeUpsOf("fine"));
  for (let left = 1, rounds = 0; left > 0; rounds++) {
    assert(rounds < MAX_ROUNDS, `after ${rounds} rounds there is still something to do`);
    const before = world.processed.size;
    left = await workOnce(world);
    await check(world);
    left += world.processed.size - before;
    await world.pass(3 * MINUTE_MS);
    if (world.hasLetters) await discard(world);
    if (world.hasLetters) left += await redrive(world);
    left += await sendRetries(world);
    if (left === 0) left = await reconcile(world); // what flows needs none
    left += world.consumers.flatMap(world.waiting).length;
  }
  await checkEnd(world);
}

interface Rows extends Effects {
  readonly id: string;
  readonly key: string;
  readonly status: OrderStatus;
}

/** What holds at every moment. */
async function check(world: World): Promise<void> {
  const { sql } = world.db;
  const keysOf = (rows: readonly { readonly key: string }[]) => new Set(rows.map(({ key }) => key));
  const [rows, events, inbox, letters, retries] = await Promise.all([
    sql<Rows[]>`
      select o.id, o.correlation_id as key, o.status, p.status as payment, e.status as seat,
             (select coalesce(json_agg(n.type), '[]') from notifications n where n.order_id = o.id) as told
      from orders o left join payments p on p.order_id = o.id left join enrollments e on e.order_id = o.id`,
    sql<(Known & { readonly id: string })[]>`
      select id, type, order_id as "orderId", extract(epoch from published_at)::float8 * 1000 as "publishedMs"
      from outbox_events`,
    sql<{ key: string }[]>`select consumer || ' ' || event_id as key from processed_events`.then(keysOf),
    sql<{ key: string; reason: string }[]>`
      select consumer || ' ' || event_id as key, reason from dead_letters where state = 'OPEN'`,
    sql<{ key: string }[]>`
      select consumer || ' ' || event_id as key from delayed_retries where due_at is not null`.then(keysOf),
  ]);
  const aside = new Set([...retries, ...keysOf(letters.filter(({ reason }) => !isStrange(reason)))]);
  world.hasLetters = letters.length > 0;
  const outbox = new Set(events.map(({ id }) => id));
  for (const { id, ...event } of events) world.events.set(id, event);
  for (const key of inbox) world.processed.add(key);
  checkRows(world, rows);

  const forgotten = world.acked.splice(0).filter((key) => !inbox.has(key) && !aside.has(key));
  assertEquals(forgotten, [], "acked, and neither processed nor set aside");
  const oldMs = world.databaseMs() - RETENTION_DAYS * DAY_MS;
  for (const [id, { type, orderId, publishedMs }] of world.events) {
    const about = world.about({ type, orderId });
    const isOld = publishedMs !== null && publishedMs < oldMs;
    assert(outbox.has(id) || isOld, `${about} was deleted before its time`);
    for (const { consumer } of world.bindings.filter((binding) => binding.type === type)) {
      const key = `${consumer} ${id}`;
      const isProcessed = world.processed.has(key);
      const isRemembered = !isProcessed || inbox.has(key) || !outbox.has(id);
      assert(isRemembered, `${consumer} has forgotten ${about}, which can be sent again`);
      assert(isProcessed || outbox.has(id), `${about} is lost to ${consumer}: nobody will send it again`);
    }
  }
  const { askedAgain } = world.money;
  assertEquals(askedAgain, [], "the provider had forgotten the key, and was asked for what is in the table");
}

/** Each order is on its story's path and has never gone back, and its events match its rows. */
function checkRows(world: World, rows: readonly Rows[]): void {
  const wanted = [...world.orders.keys()].toSorted();
  assertEquals(rows.map(({ key }) => key).toSorted(), wanted, "orders, by their keys");
  const eventsOf = Map.groupBy(world.events.values(), ({ orderId }) => orderId);
  for (const { id, key, status, payment, seat, told } of rows) {
    const order = world.orders.get(key);
    assert(order);
    const { path, end } = STORIES[order.story];
    const about = `${order.label}: ${order.seen} → ${status}, payment ${payment}, seat ${seat}`;
    assert(path.includes(status) && path.indexOf(status) >= path.indexOf(order.seen), about);
    order.seen = status;
    assert(payment === null || payment === end.payment || payment === "SUCCEEDED", about);
    assert(seat === null || seat === end.seat, about);
    assertEquals(told, told.length > 0 ? end.told : [], about);
    const isUnderRefund = status === "REFUND_IN_PROGRESS" || status === "REFUNDED";
    assert(payment !== "REFUND_SUCCEEDED" || (isUnderRefund && seat === "FAILED"), about);
    const facts: Record<string, boolean> = {
      "enrollment.failed": seat === "FAILED",
      "enrollment.granted": seat === "GRANTED",
      "notification.sent": told.length > 0,
      "order.created": true,
      "payment.failed": payment === "FAILED",
      "payment.succeeded": payment === "SUCCEEDED" || payment === "REFUND_SUCCEEDED",
      "refund.requested": isUnderRefund,
      "refund.succeeded": payment === "REFUND_SUCCEEDED",
    };
    const types = (eventsOf.get(id) ?? []).map(({ type }) => type);
    const known = types.filter((type) => type in facts); // what others tell of a purchase is not the model's
    assertEquals(known.toSorted(), Object.keys(facts).filter((type) => facts[type]), about);
  }
}

/** Every order is where its story ends, with its effects, and as much money has moved as the rows say. */
async function checkEnd(world: World): Promise<void> {
  for (const { story, seen, label } of world.orders.values()) {
    assertEquals(seen, STORIES[story].path.at(-1), label);
  }
  const payments = await world.db.sql<{ id: string; orderId: string; status: string }[]>`
    select id, order_id as "orderId", status from payments where status <> 'FAILED'`;
  const refunds = payments.filter(({ status }) => status === "REFUND_SUCCEEDED");
  const { charged, refunded } = world.money;
  assertEquals([...charged].toSorted(), payments.map(({ orderId }) => orderId).toSorted(), "charges");
  assertEquals([...refunded].toSorted(), refunds.map(({ id }) => id).toSorted(), "refunds");
  const scope = { graceSeconds: 0, retentionDays: RETENTION_DAYS };
  const { checks } = await runAudit(world.as("orderflow_ops"), world.topology, scope);
  assertEquals(checks.filter(({ count }) => count > 0), [], "audit");
}

interface Batch {
  readonly consumer: string;
  readonly copies: readonly Copy[];
  readonly way?: Way;
  readonly isImpatient?: boolean;
}

/** Hands copies to a consumer, and does about them what the consumer's frame does (`settle()` in `consume.ts`). */
async function deliver(
  world: World,
  { consumer, copies, way = "fine", isImpatient = false }: Batch,
): Promise<void> {
  const acked: Copy[] = [];
  const ack = ({ fields: { deliveryTag: tag } }: ConsumeMessage, multiple: boolean) =>
    void acked.push(...copies.slice(multiple ? 0 : tag - 1, tag));
  const batch = copies.map((copy, i) => {
    const { content, properties } = copy;
    const fields = { ...copy.fields, deliveryTag: i + 1, redelivered: copy.deliveries++ > 0 };
    const message = { content, properties, fields } as unknown as ConsumeMessage;
    const channel = { ack } as unknown as Channel;
    const limits = { parse: parseEvent, maxBytes: 65_536 };
    const takenUpMs = performance.now() - (isImpatient ? 1001 : 0);
    return Object.assign(receive(channel, message, limits, new Date()), { channel, takenUpMs });
  });
  const outcomes = await world.process(consumer, way, batch).catch((error) => {
    if (way === "uncommitted" && messageOf(error) === DEATH) return new Map<Delivery<DomainEvent>, Outcome>();
    throw error;
  });
  if (copies.length > 0) world.count(outcomes.size > 0 ? way : DEATH);
  const [letters, retries]: [NewDeadLetter[], NewRetry[]] = [[], []];
  const [done, open]: [typeof batch, typeof batch] = [[], []];
  for (const [delivery, outcome] of outcomes) {
    const { retryState: { retries: spent }, takenUpMs } = delivery;
    const unackedMs = performance.now() - takenUpMs;
    const attempts = { retries: spent, looks: 0, unackedMs, ageMs: ageOf(delivery) };
    const step = nextStep(outcome, attempts, RETRY_POLICY, Math.random());
    checkOutcome(world, `${consumer} ${aboutOf(delivery.parsed).eventId}`, outcome, step);
    if (step.kind === "dead-letter") letters.push(deadLetterOf(delivery, consumer, step));
    const retry = step.kind === "retry" && retryOf(delivery, consumer, step);
    if (retry) retries.push(retry);
    (step.kind === "look-again" ? open : done).push(delivery);
  }
  const setAside = createSetAside(world.as(`orderflow_${moduleOf(consumer)}`), consumer);
  if (letters.length > 0) await setAside.keepDeadLetters(letters);
  if (retries.length > 0) await setAside.keepRetries(retries);
  if (way === "deaf") return;
  ackDeliveries(done, open);
  world.broker.forget(consumer, acked);
  const events = acked.filter(({ isEvent }) => isEvent);
  world.acked.push(...events.map(({ eventId }) => `${consumer} ${eventId}`));
}

/** Only what a stranger sent is rejected, and nothing is given up on before its retries are spent. */
function checkOutcome(world: World, key: string, outcome: Outcome, step: NextStep): void {
  world.count(outcome.kind);
  if (outcome.kind === "rejected") assert(isStrange(outcome.reason), `${outcome.reason}: ${outcome.detail}`);
  if (outcome.kind !== "failed") return;
  const failures = (world.failures.get(key) ?? 0) + 1;
  world.failures.set(key, failures);
  const isTooSoon = step.kind === "dead-letter" && failures <= RETRY_POLICY.maxRetries;
  assert(!isTooSoon, `given up on at failure ${failures}, before its ${RETRY_POLICY.maxRetries} retries`);
}

const isStrange = (reason: string) => STRANGERS.some((known) => known === reason);

/** Waits for all of them, so that none is at work any more when one has failed. */
async function allDone(work: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}
