/**
 * An order's timeline as a story: beats, each one transaction or one confirm of the broker, told in plain sentences, with
 * where every message is and what the tables hold by then. The API, the page and `deno task story` tell it alike.
 *
 * @module
 */
import { QUEUES } from "../topology.ts";
import type { OrderJson, TimelineEntryJson } from "./answers.ts";
import type { TimelineEntry } from "./timeline.ts";

/** A queue, which its consumer is named like. */
export interface StoryQueue {
  /** As the configuration names it. */
  readonly name: string;
  /** As the topology names it, without its version: `payments.order-created`. */
  readonly label: string;
  /** The event types that it is bound to. */
  readonly bindings: readonly string[];
}

/** A part of the machine; queues and consumers by the queue's name. */
export type Place = "api" | "outbox" | "relay" | "exchange" | `queue:${string}` | `consumer:${string}`;

/** Where a message of the order is: in the outbox, or one copy of it for each consumer. */
export interface Whereabouts {
  /** The event's id, or that of its dead letter where the message had none. */
  readonly id: string;
  readonly type: string;
  readonly place: Place;
  readonly state: "waits" | "done" | "retry" | "dead";
}

/** What a table holds for the order. */
export interface TableState {
  readonly table: string;
  readonly holds: string;
  /** Whether this beat has changed it. */
  readonly isChanged: boolean;
}

export interface Beat {
  readonly kind: "placed" | "appended" | "published" | "processed" | "absorbed" | "failed" | "dead";
  /** In epoch milliseconds. */
  readonly at: number;
  readonly place: Place;
  /** The same in a word: `API`, `relay`, `payments`. */
  readonly where: string;
  /** The event that it is about; null where the message could not be read. */
  readonly eventId: string | null;
  readonly eventType: string | null;
  readonly title: string;
  readonly text: string;
  /** What moves in this beat: each way through the machine, from place to place. */
  readonly ways: readonly (readonly Place[])[];
  readonly messages: readonly Whereabouts[];
  readonly tables: readonly TableState[];
  /** The dead letter that was written; for `dead` alone. */
  readonly deadLetterId?: string;
}

type Entry = TimelineEntryJson | TimelineEntry;
type Of<Kind extends Entry["kind"]> = Extract<Entry, { kind: Kind }>;

/** What took longer than this is told, in milliseconds: at rest a whole order takes a tenth of it. */
const LATE_MS = 1000;

/** What a transaction did, by the event that it told: as a sentence, and as the first of what it wrote. */
const TOLD: Readonly<Record<string, readonly [title: string, wrote: string]>> = {
  "payment.succeeded": ["Payments charged the card", "the charge"],
  "payment.failed": ["The card was declined", "the failed payment"],
  "enrollment.granted": ["Enrollments granted a seat", "the seat"],
  "enrollment.failed": ["Enrollments found no seat left", "the refusal"],
  "refund.succeeded": ["Payments gave the money back", "the refund"],
  "notification.sent": ["Notifications told the buyer", "the notification"],
};

/** What a move of the order means. */
const MOVED: Readonly<Record<string, string>> = {
  PAID: "The order is PAID",
  COMPLETED: "The order is COMPLETED: paid, and the seat is granted",
  PAYMENT_FAILED: "The order ends as PAYMENT_FAILED",
  REFUND_IN_PROGRESS: "The order turns back: REFUND_IN_PROGRESS",
  REFUNDED: "The order ends as REFUNDED",
};

/** What a module's row says, by the event that told of it; of others, the event's last word. */
const ROWS: Readonly<Record<string, string>> = {
  "payment.succeeded": "SUCCEEDED",
  "payment.failed": "FAILED",
  "enrollment.granted": "GRANTED",
  "enrollment.failed": "FAILED: no seat",
  "refund.succeeded": "REFUND_SUCCEEDED",
  "notification.sent": "1 sent",
};

const WHY_DEAD: Readonly<Record<string, string>> = {
  "retries exhausted": "All its retries are spent.",
  "kills its worker": "It ended its worker again and again; now the messages behind it can go on.",
  "too early": "What it builds on did not come in all its retries.",
};

/** What a table holds before the order is placed. */
const NOTHING = ["no row", "0 rows", "nothing"];

/** The queues of a system by what it is bound to, in the order of the topology. */
export function queuesOf(
  bindings: readonly { readonly consumer: string; readonly type: string }[],
): StoryQueue[] {
  const names = Object.values(QUEUES).map(({ name }) => name);
  return [...Map.groupBy(bindings, ({ consumer }) => consumer)].map(([name, bound], i) => ({
    name,
    label: (names[i] ?? name).replace(/\.v\d+$/, ""),
    bindings: bound.map(({ type }) => type),
  }));
}

/** The module that a queue and its consumer belong to: `payments`. */
export function moduleOf(name: string, queues: readonly StoryQueue[]): string {
  return labelOf(name, queues).split(".", 1).join();
}

function labelOf(name: string, queues: readonly StoryQueue[]): string {
  return queues.find((queue) => queue.name === name)?.label ?? name;
}

/**
 * Tells the story of a timeline, which is sorted by time. Pure. What the timeline does not know is not made up: of
 * several repeats or failed attempts it has the last one, and how many there were.
 */
export function tellStory(
  timeline: readonly Entry[],
  queues: readonly StoryQueue[],
): Beat[] {
  const processed = timeline.filter((entry) => entry.kind === "processed");
  const causes = new Map<Entry, Entry>();
  for (const entry of timeline) {
    const cause = entry.kind === "emitted"
      ? emitterOf(entry, processed, timeline, queues)
      : moverOf(entry, processed, queues);
    if (cause) causes.set(entry, cause);
  }
  const follows = Map.groupBy(causes.keys(), (entry) => causes.get(entry));
  const state = startState(queues);
  const beats: Beat[] = [];
  for (const entry of timeline) {
    if (causes.has(entry)) continue;
    const told = tell(entry, follows.get(entry) ?? [], state);
    const [part = "", name] = told.place.split(":");
    const where = name === undefined ? part.replace("api", "API") : moduleOf(name, queues);
    const { messages, tables } = pictureOf(state, beats.at(-1)?.tables ?? []);
    const about = entry.kind === "status" ? follows.get(entry)?.at(0) ?? entry : entry;
    beats.push({
      ...told,
      where,
      at: timeOf(entry.at),
      eventId: about.eventId,
      eventType: about.eventType,
      messages,
      tables,
    });
  }
  return beats;
}

/** What an event was told by: the transaction of the same moment, else the last one before it. */
function emitterOf(
  event: Of<"emitted">,
  processed: readonly Of<"processed">[],
  timeline: readonly Entry[],
  queues: readonly StoryQueue[],
): Entry | undefined {
  const placed = timeline.find(({ kind, at }) => kind === "status" && timeOf(at) === timeOf(event.at));
  if (event.eventType === "order.created") return placed;
  const before = processed.filter(({ at, eventId }) =>
    timeOf(at) <= timeOf(event.at) && eventId !== event.eventId
  );
  const last = timeOf(before.at(-1)?.at ?? event.at);
  const candidates = before.filter(({ at }) => timeOf(at) === last);
  const subject = event.eventType?.split(".", 1).join() ?? "";
  // Two modules may have committed in the same millisecond.
  return candidates.find(({ consumer }) => moduleOf(consumer, queues) === `${subject}s`) ??
    candidates.find(({ eventType }) => eventType?.startsWith(subject)) ??
    candidates.find(({ consumer }) => moduleOf(consumer, queues) === "orders") ?? candidates[0];
}

function moverOf(
  entry: Entry,
  processed: readonly Of<"processed">[],
  queues: readonly StoryQueue[],
): Entry | undefined {
  if (entry.kind !== "status" || entry.from === null) return undefined;
  const same = processed.filter(({ eventId, at }) =>
    eventId === entry.eventId && timeOf(at) === timeOf(entry.at)
  );
  return same.find(({ consumer }) => moduleOf(consumer, queues) === "orders") ?? same[0];
}

/** The machine as far as it has come, for this order. */
interface State {
  readonly queues: readonly StoryQueue[];
  readonly events: Map<string, Message>;
  readonly rows: Map<string, string>;
}

interface Message {
  readonly type: string;
  readonly emittedAt: number | null;
  publishedAt: number | null;
  publications: number;
  /** By consumer: where its copy is. A copy that is not here has not been sent yet. */
  readonly copies: Map<string, { state: Whereabouts["state"]; retries: number; wasDead: boolean }>;
}

function startState(queues: readonly StoryQueue[]): State {
  const modules = [...new Set(queues.map(({ name }) => moduleOf(name, queues)))].sort((a, b) =>
    Number(b === "orders") - Number(a === "orders")
  );
  return { queues, events: new Map(), rows: new Map(modules.map((name) => [name, "no row"])) };
}

type Told = Pick<Beat, "kind" | "place" | "title" | "text" | "ways" | "deadLetterId">;

function tell(entry: Entry, follows: readonly Entry[], state: State): Told {
  switch (entry.kind) {
    case "status":
    case "emitted":
      return tellBeginning(entry, follows, state);
    case "published":
      return tellPublished(entry, state);
    case "processed":
      return tellProcessed(entry, follows, state);
    case "duplicate":
      return tellAbsorbed(entry, state);
    case "retry":
      return tellFailed(entry, state);
    case "dead-letter":
      return tellDead(entry, state);
  }
}

function tellBeginning(entry: Of<"status"> | Of<"emitted">, follows: readonly Entry[], state: State): Told {
  const events = [entry, ...follows].filter((each) => each.kind === "emitted");
  append(events, state);
  const types = events.map(({ eventType }) => eventType).join(" and ");
  const ways: Place[][] = [["api", "outbox"]];
  if (entry.kind === "emitted") {
    const text = "What caused it is no longer known: its inbox row has been pruned.";
    return {
      kind: "appended",
      place: "outbox",
      title: `${types} was appended to the outbox`,
      text,
      ways: [["outbox"]],
    };
  }
  state.rows.set("orders", entry.to);
  const wrote = ["the order as PENDING", ...(types ? [`${types} in the outbox`] : [])];
  return { kind: "placed", place: "api", title: "An order was placed", text: oneTransaction(wrote), ways };
}

function append(events: readonly Entry[], state: State): void {
  for (const { eventId, eventType, at } of events) {
    if (eventId === null || state.events.has(eventId)) continue;
    state.events.set(eventId, messageOf(eventType, timeOf(at)));
  }
}

function messageOf(type: string | null, emittedAt: number | null): Message {
  return { type: type ?? "unreadable", emittedAt, publishedAt: null, publications: 0, copies: new Map() };
}

function tellPublished(entry: Of<"published">, state: State): Told {
  const { message, name } = messageFor(entry, state);
  const wasSent = message.copies.size > 0;
  const isAgain = ++message.publications > 1;
  const bound = send(message, state);
  const waited = timeOf(entry.at) - (message.emittedAt ?? timeOf(entry.at));
  message.publishedAt = timeOf(entry.at);
  const ways: Place[][] = bound.length > 0
    ? bound.map((queue) => ["outbox", "relay", "exchange", `queue:${queue}`])
    : [["outbox", "relay", "exchange"]];
  const about = { kind: "published", place: "relay", ways } as const;
  const refused = entry.retryCount > 0 ? ` The broker had refused it ${times(entry.retryCount)} before.` : "";
  if (isAgain) {
    const text =
      "An operator asked for it. It has the same id: whoever has processed it will absorb the repeat.";
    return { ...about, title: `The relay published ${name} again`, text: text + refused };
  }
  if (wasSent) {
    const text =
      "A consumer had it before the relay had noted the broker's confirm. Had the relay died in between, it " +
      "would publish it again, and the inbox would absorb it.";
    return {
      ...about,
      title: `The relay noted that ${name} is published`,
      text: text + refused,
      ways: [["outbox", "relay"]],
    };
  }
  const where = bound.length > 0
    ? `The broker confirmed it, and put it into ${
      listOf(bound.map((queue) => labelOf(queue, state.queues)))
    }.`
    : "The broker confirmed it. No queue is bound to it: nobody here waits for it.";
  const late = waited > LATE_MS
    ? ` It had waited ${seconds(waited)} in the outbox: the relay or the broker was away, or had much to do.`
    : "";
  return { ...about, title: `The relay published ${name}`, text: where + late + refused };
}

/** Has every queue that is bound to the message get its copy; answers with these queues. */
function send(message: Message, { queues }: State): string[] {
  const bound = queues.filter(({ bindings }) => bindings.includes(message.type)).map(({ name }) => name);
  for (const queue of bound) {
    if (!message.copies.has(queue)) message.copies.set(queue, { state: "waits", retries: 0, wasDead: false });
  }
  return bound;
}

function tellProcessed(entry: Of<"processed">, follows: readonly Entry[], state: State): Told {
  const { consumer } = entry;
  const { message, name } = messageFor(entry, state);
  const isNoted = message.publishedAt !== null;
  const wasQueued = message.copies.has(consumer);
  send(message, state);
  const copy = copyFor(consumer, message);
  copy.state = "done";
  const events = follows.filter((each) => each.kind === "emitted");
  const move = follows.find((each) => each.kind === "status");
  append(events, state);
  if (move) state.rows.set("orders", move.to);
  const types = events.flatMap(({ eventType }) => eventType ?? []);
  for (const type of types) noteRow(type, consumer, state);
  const [title, wrote] = effectOf(entry, move, types, state);
  const row = `the inbox row for ${name}`;
  const text = [
    oneTransaction([wrote, row, ...(types.length > 0 ? [`${listOf(types)} in the outbox`] : [])]),
    copy.wasDead
      ? "Its dead letter had been sent again."
      : copy.retries > 0
      ? `It was attempt ${copy.retries + 1}, after ${
        copy.retries === 1 ? "a delayed retry" : `${copy.retries} delayed retries`
      }.`
      : lateness(entry, message, isNoted),
    isNoted ? "" : "The broker had handed it on before the relay noted its confirm.",
  ].filter(Boolean).join(" ");
  const way: Place[] = [
    ...(wasQueued ? [] : ["outbox", "relay", "exchange"] as const),
    `queue:${consumer}`,
    `consumer:${consumer}`,
    ...(types.length > 0 ? ["outbox"] as const : []),
  ];
  return { kind: "processed", place: `consumer:${consumer}`, title, text, ways: [way] };
}

function lateness({ at }: Of<"processed">, { publishedAt }: Message, isNoted: boolean): string {
  const took = timeOf(at) - (publishedAt ?? timeOf(at));
  if (!isNoted || took <= LATE_MS) return "";
  return `That was ${
    seconds(took)
  } after it was published: the broker held it back or lost it, or its consumer was away or slow.`;
}

/** What a consumer's transaction did, as a sentence, and the first of what it wrote. */
function effectOf(
  { consumer, eventType }: Of<"processed">,
  move: Of<"status"> | undefined,
  types: readonly string[],
  state: State,
): readonly [string, string] {
  if (move) return [MOVED[move.to] ?? `The order is ${move.to}`, `the order from ${move.from} to ${move.to}`];
  const [type] = types;
  const known = TOLD[type ?? ""];
  if (known) return known;
  const what = `${nameOf(consumer, state)} processed ${eventType}`;
  return [type ? `${what}, and told ${type}` : what, "the effect"];
}

function noteRow(type: string, consumer: string, state: State): void {
  const module = moduleOf(consumer, state.queues);
  if (module !== "orders") {
    state.rows.set(module, ROWS[type] ?? (type.split(".").at(-1) ?? type).toUpperCase());
  }
}

function tellAbsorbed({ consumer, duplicates, ...entry }: Of<"duplicate">, state: State): Told {
  const { message, name } = messageFor(entry, state);
  const why = message.publications > 1
    ? "It was published again."
    : "The broker delivered it again: a copy, or its ack was lost with a worker.";
  const which = duplicates > 1 ? `This was the last of ${duplicates} repeats.` : "";
  return {
    kind: "absorbed",
    place: `consumer:${consumer}`,
    title: `${nameOf(consumer, state)} absorbed a repeat of ${name}`,
    text: [why, "The inbox has its row already, so nothing was done twice.", which].filter(Boolean).join(" "),
    ways: [[`queue:${consumer}`, `consumer:${consumer}`]],
  };
}

function tellFailed({ consumer, retries, error, dueAt, ...entry }: Of<"retry">, state: State): Told {
  const { message, name } = messageFor(entry, state);
  send(message, state);
  Object.assign(copyFor(consumer, message), { state: "retry", retries });
  const next = dueAt === null
    ? "It was sent to its queue once more."
    : `It is due again ${seconds(Math.max(timeOf(dueAt) - timeOf(entry.at), 0))} later.`;
  return {
    kind: "failed",
    place: `consumer:${consumer}`,
    title: `${nameOf(consumer, state)} could not process ${name}${retries > 1 ? `: attempt ${retries}` : ""}`,
    text: `${sentence(error)} The transaction was rolled back: only the retry is noted. ${next}`,
    ways: [[`queue:${consumer}`, `consumer:${consumer}`]],
  };
}

function tellDead({ consumer, reason, deadLetterId, ...entry }: Of<"dead-letter">, state: State): Told {
  const { message, name } = messageFor({ ...entry, deadLetterId }, state);
  Object.assign(copyFor(consumer, message), { state: "dead", wasDead: true });
  const why = WHY_DEAD[reason] ?? `Reason: ${reason}. No retry would change that.`;
  return {
    kind: "dead",
    place: `consumer:${consumer}`,
    title: `${nameOf(consumer, state)} gave up on ${name}`,
    text: `${why} It is a dead letter now, until somebody sends it again or discards it.`,
    ways: [[`queue:${consumer}`, `consumer:${consumer}`]],
    deadLetterId,
  };
}

/** The message that an entry is about, which need never have been in the outbox. */
function messageFor(
  { eventId, eventType, deadLetterId }: Pick<Entry, "eventId" | "eventType"> & {
    readonly deadLetterId?: string;
  },
  { events }: State,
): { message: Message; name: string } {
  const key = eventId ?? deadLetterId ?? "";
  const message = events.get(key) ?? messageOf(eventType, null);
  events.set(key, message);
  return { message, name: eventType ?? "a message that it could not read" };
}

function copyFor(consumer: string, { copies }: Message) {
  const copy = copies.get(consumer) ?? { state: "waits", retries: 0, wasDead: false };
  copies.set(consumer, copy);
  return copy;
}

function pictureOf(
  { events, rows }: State,
  before: readonly TableState[],
): Pick<Beat, "messages" | "tables"> {
  const messages = [...events].flatMap(([id, { type, emittedAt, publishedAt, copies }]): Whereabouts[] => [
    ...(emittedAt !== null && publishedAt === null
      ? [{ id, type, place: "outbox", state: "waits" } as const]
      : []),
    ...[...copies].map(([consumer, { state }]) => {
      return { id, type, place: `${state === "waits" ? "queue" : "consumer"}:${consumer}`, state } as const;
    }),
  ]);
  const count = (of: Whereabouts["state"]) =>
    messages.filter(({ state, place }) => state === of && place !== "outbox").length;
  const appended = [...events.values()].filter(({ emittedAt }) => emittedAt !== null);
  const waiting = appended.filter(({ publishedAt }) => publishedAt === null).length;
  const aside = [
    ...(count("retry") > 0 ? [counted(count("retry"), "retry", "retries")] : []),
    ...(count("dead") > 0 ? [counted(count("dead"), "dead letter")] : []),
  ];
  const held: [string, string][] = [
    ...rows,
    ["outbox", counted(appended.length, "row") + (waiting > 0 ? `, ${waiting} unpublished` : "")],
    ["inbox", counted(count("done"), "row")],
    ["set aside", aside.join(", ") || "nothing"],
  ];
  const tables = held.map(([table, holds]) => {
    const last = before.find((each) => each.table === table)?.holds;
    return { table, holds, isChanged: last === undefined ? !NOTHING.includes(holds) : last !== holds };
  });
  return { messages, tables };
}

/** The story as text: a head, and for each beat when, where, what, and which tables it has changed. */
export function storyText(
  order: { [K in "id" | "status" | "amount"]: OrderJson[K] },
  beats: readonly Beat[],
): string {
  const start = beats[0]?.at ?? 0;
  const number = String(beats.length).length;
  const time = Math.max(...beats.map(({ at }) => since(at, start).length), 0);
  const place = Math.max(...beats.map((beat) => beat.where.length), 0);
  const lines = beats.flatMap((beat, i) => {
    const head = `${String(i + 1).padStart(number)}  ${since(beat.at, start).padStart(time)}  ${
      beat.where.padEnd(place)
    }  `;
    const changed = beat.tables.filter(({ isChanged }) => isChanged).map(({ table, holds }) =>
      `${table}: ${holds}`
    );
    const indent = " ".repeat(head.length);
    return [
      head + beat.title,
      indent + beat.text,
      ...(changed.length > 0 ? [`${indent}[${changed.join(" · ")}]`] : []),
    ];
  });
  const when = start > 0 ? `, placed at ${new Date(start).toISOString()}` : "";
  return [`Order ${order.id} over ${order.amount}: ${order.status}${when}`, "", ...lines, ""].join("\n");
}

function nameOf(consumer: string, { queues }: State): string {
  const name = moduleOf(consumer, queues);
  return name.charAt(0).toUpperCase() + name.slice(1);
}

function oneTransaction(wrote: readonly string[]): string {
  return `One transaction: ${listOf(wrote)}.`;
}

function listOf(words: readonly string[]): string {
  return words.length < 3 ? words.join(" and ") : `${words.slice(0, -1).join(", ")}, and ${words.at(-1)}`;
}

function sentence(words: string): string {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function since(at: number, start: number): string {
  return at - start < 10_000 ? `${at - start} ms` : seconds(at - start);
}

function timeOf(at: string | Date): number {
  return typeof at === "string" ? Date.parse(at) : at.getTime();
}
