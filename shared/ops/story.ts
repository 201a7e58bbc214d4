// An order's timeline as a story: beats, each one transaction or one thing that broker, relay or an operator did, told in
// plain sentences, with where every message is and what the tables hold by then. The API, the page and `deno task story`
// tell it alike.

import { QUEUES } from "../topology.ts";
import { counted, duration, listOf } from "../words.ts";
import type { Beat, BeatCause, OrderJson, Place, TimelineEntryJson, Whereabouts } from "./answers.ts";
import {
  COPY_BEATS,
  type CopyKind,
  fill,
  MOVED,
  TOLD,
  WHY_ABSORBED,
  WHY_DEAD,
  WHY_PROCESSED,
} from "./story_words.ts";
import type { TimelineEntry } from "./timeline.ts";

export type { Beat, Place };

/** A queue, which its consumer is named like. */
export interface StoryQueue {
  /** As the configuration names it. */
  readonly name: string;
  /** As the topology names it, without its version: `payments.order-created`. */
  readonly label: string;
  readonly bindings: readonly string[];
}

/** An entry with its time in epoch milliseconds. */
const timed = (entry: TimelineEntryJson | TimelineEntry) => ({ ...entry, at: new Date(entry.at).getTime() });
type Entry = ReturnType<typeof timed>;
type Of<Kind extends Entry["kind"]> = Extract<Entry, { kind: Kind }>;

/** What took longer than this is told, in milliseconds: at rest a whole order takes a tenth of it. */
const LATE_MS = 1000;

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

/** A queue's and its consumer's name without its version, as the topology has it. */
export function labelOf(name: string, queues: readonly StoryQueue[]): string {
  return queues.find((queue) => queue.name === name)?.label ?? name;
}

/**
 * Tells the story of a timeline, which is sorted by time. Pure. What the timeline does not know is not made up.
 */
export function tellStory(
  timeline: readonly (TimelineEntryJson | TimelineEntry)[],
  queues: readonly StoryQueue[],
): Beat[] {
  const entries = timeline.map(timed);
  const processed = entries.filter((entry) => entry.kind === "processed");
  const causes = new Map(entries.map((entry) => [entry, causeOf(entry, processed, entries, queues)]));
  const follows = Map.groupBy(entries, (entry) => causes.get(entry));
  const state = startState(queues);
  const beats: Beat[] = [];
  let { tables } = pictureOf(state, []);
  for (const entry of follows.get(undefined) ?? []) {
    const told = tell(entry, follows.get(entry) ?? [], state);
    const [part = "", name] = told.place.split(":");
    const { eventId, eventType } = entry.kind === "status" ? follows.get(entry)?.at(0) ?? entry : entry;
    const where = name === undefined ? part.replace("api", "API") : moduleOf(name, queues);
    const picture = pictureOf(state, tables);
    tables = picture.tables;
    beats.push({ ...told, where, at: entry.at, eventId, eventType, ...picture });
  }
  return beats;
}

/** What an entry is a part of: the transaction of the same moment; where that has not told an event, the last one before it. */
function causeOf(
  entry: Entry,
  processed: readonly Of<"processed">[],
  entries: readonly Entry[],
  queues: readonly StoryQueue[],
): Entry | undefined {
  const isOf = (module: string) => ({ consumer }: Of<"processed">) => moduleOf(consumer, queues) === module;
  if (entry.kind === "status" && entry.from !== null) {
    const same = processed.filter(({ eventId, at }) => eventId === entry.eventId && at === entry.at);
    return same.find(isOf("orders")) ?? same[0];
  }
  if (entry.kind !== "emitted") return undefined;
  if (entry.eventType === "order.created") {
    return entries.find(({ kind, at }) => kind === "status" && at === entry.at);
  }
  const before = processed.filter(({ at, eventId }) => at <= entry.at && eventId !== entry.eventId);
  const candidates = before.filter(({ at }) => at === before.at(-1)?.at);
  const subject = entry.eventType?.split(".", 1).join() ?? "";
  // Two modules may have committed in the same millisecond.
  return candidates.find(isOf(`${subject}s`)) ??
    candidates.find(({ eventType }) => eventType?.startsWith(subject)) ??
    candidates.find(isOf("orders")) ?? candidates[0];
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
  /** By consumer. A copy that is not here has not been sent yet. */
  readonly copies: Map<string, Copy>;
}

/** Where a consumer's copy of a message is, when it was last sent, and what went another way than usual since. */
interface Copy {
  state: Whereabouts["state"] | "taken";
  sentAt: number | null;
  retries: number;
  cause: BeatCause | null;
  /** How long that took, in milliseconds, where the cause is that it took long. */
  tookMs: number;
}

/** Where nothing has happened yet; the module `orders` comes first. */
function startState(queues: readonly StoryQueue[]): State {
  const modules = new Set(["orders", ...queues.map(({ name }) => moduleOf(name, queues))]);
  return { queues, events: new Map(), rows: new Map([...modules].map((name) => [name, "no row"])) };
}

type Told = Pick<Beat, "kind" | "cause" | "place" | "title" | "text" | "ways" | "deadLetterId">;

function tell(entry: Entry, follows: readonly Entry[], state: State): Told {
  switch (entry.kind) {
    case "status":
    case "emitted":
      return tellBeginning(entry, follows, state);
    case "published":
      return tellPublished(entry, state);
    default:
      return tellCopy(entry, follows, state);
  }
}

function tellBeginning(entry: Of<"status"> | Of<"emitted">, follows: readonly Entry[], state: State): Told {
  const events = [entry, ...follows].filter((each) => each.kind === "emitted");
  append(events, state);
  const types = events.map(({ eventType }) => eventType).join(" and ");
  if (entry.kind === "emitted") {
    const text = "What caused it is no longer known: its inbox row has been pruned.";
    const title = `${types} was appended to the outbox`;
    return { kind: "appended", place: "outbox", title, text, ways: [["outbox"]] };
  }
  state.rows.set("orders", entry.to);
  const text = oneTransaction(["the order as PENDING", ...(types ? [`${types} in the outbox`] : [])]);
  return { kind: "placed", place: "api", title: "An order was placed", text, ways: [["api", "outbox"]] };
}

function append(events: readonly Entry[], state: State): void {
  for (const { eventId, eventType, at } of events) {
    if (eventId !== null) messageOf(eventId, eventType, at, state);
  }
}

function messageOf(key: string, type: string | null, emittedAt: number | null, { events }: State): Message {
  const message = events.get(key) ??
    { type: type ?? "unreadable", emittedAt, publishedAt: null, copies: new Map() };
  events.set(key, message);
  return message;
}

/** The message that an entry is about, which need never have been in the outbox. */
function messageFor({ eventId, eventType, ...entry }: Pick<Entry, "eventId" | "eventType">, state: State) {
  const letter = "deadLetterId" in entry ? String(entry.deadLetterId) : "";
  const message = messageOf(eventId ?? letter, eventType, null, state);
  return { message, name: eventType ?? "a message that it could not read" };
}

function tellPublished(entry: Of<"published">, state: State): Told {
  const { at } = entry;
  const { message, name } = messageFor(entry, state);
  const wasSent = message.copies.size > 0;
  const bound = send(message, state);
  const waitedMs = at - (message.emittedAt ?? at);
  message.publishedAt = at;
  for (const copy of message.copies.values()) copy.sentAt ??= at;
  const refused = entry.retryCount > 0
    ? ` The broker had refused it ${entry.retryCount === 1 ? "once" : `${entry.retryCount} times`} before.`
    : "";
  const way: Place[] = ["outbox", "relay", "exchange"];
  const ways = bound.length > 0 ? bound.map((queue): Place[] => [...way, `queue:${queue}`]) : [way];
  const about = { kind: "published", place: "relay", ways } as const;
  if (wasSent) {
    const text =
      "A consumer had it before the relay had noted the broker's confirm. Had the relay died in between, it " +
      "would publish it again, and the inbox would absorb it.";
    const title = `The relay noted that ${name} is published`;
    return { ...about, title, text: text + refused, ways: [["outbox", "relay"]] };
  }
  const where = bound.length > 0
    ? `The broker confirmed it, and put it into ${
      listOf(bound.map((queue) => labelOf(queue, state.queues)))
    }.`
    : "The broker confirmed it. No queue is bound to it: nobody here waits for it.";
  const title = `The relay published ${name}`;
  if (waitedMs <= LATE_MS) return { ...about, title, text: where + refused };
  const late = ` It had waited ${
    duration(waitedMs)
  } in the outbox: the relay or the broker was away, held, or had much to do.`;
  return { ...about, cause: "late", title, text: where + late + refused };
}

/** Has every queue that is bound to the message get its copy; answers with these queues. */
function send(message: Message, { queues }: State): string[] {
  const bound = queues.filter(({ bindings }) => bindings.includes(message.type)).map(({ name }) => name);
  for (const queue of bound) copyFor(queue, message);
  return bound;
}

function copyFor(consumer: string, { copies }: Message): Copy {
  const copy = copies.get(consumer) ??
    { state: "waits", sentAt: null, retries: 0, cause: null, tookMs: 0 };
  copies.set(consumer, copy);
  return copy;
}

/** Notes that a consumer has a copy now, and whether it was long on its way; no more is known of one that was sent again. */
function arrive(copy: Copy, at: number): void {
  const tookMs = at - (copy.sentAt ?? at);
  if (copy.state === "waits" && copy.cause === null && tookMs > LATE_MS) {
    Object.assign(copy, { cause: "delayed", tookMs });
  }
}

/** What happened to one consumer's copy of a message. */
function tellCopy(entry: Of<CopyKind>, follows: readonly Entry[], state: State): Told {
  const { kind, consumer, at } = entry;
  const { beat, to, cause, title, text } = COPY_BEATS[kind];
  const { message, name } = messageFor(entry, state);
  const wasQueued = message.copies.has(consumer);
  send(message, state);
  const copy = copyFor(consumer, message);
  if (kind === "processed" || kind === "taken" || kind === "retry") arrive(copy, at);
  if (kind === "duplicate") copy.cause ??= "duplicate";
  if (kind === "retry") copy.retries = entry.retries;
  const words = {
    name,
    who: nameOf(consumer, state),
    sent: duration(at - (copy.sentAt ?? message.publishedAt ?? at)),
    processed: remark(WHY_PROCESSED, copy),
    ...wordsOf(entry, copy),
    ...(kind === "processed" ? effectOf(entry, follows, state) : {}),
    early: message.publishedAt === null
      ? "The broker had handed it on before the relay noted its confirm."
      : "",
  };
  if (kind === "taken") copy.tookMs = entry.heldMs;
  if (kind === "redriven") copy.retries = 0; // with which its message comes
  const told = cause ? { cause } : settle(copy, to);
  if (cause) Object.assign(copy, { cause, state: copy.state === "done" ? "done" : to });
  if (kind === "discarded") message.copies.delete(consumer);
  const isSent = to === "waits";
  if (isSent) copy.sentAt = at;
  const place: Place = isSent ? "relay" : `consumer:${consumer}`;
  const way: Place[] = isSent ? [place, "exchange", `queue:${consumer}`] : [`queue:${consumer}`, place];
  if (kind === "processed" && !wasQueued) way.unshift("outbox", "relay", "exchange");
  if (kind === "processed" && follows.some((each) => each.kind === "emitted")) way.push("outbox");
  const letter = "deadLetterId" in entry ? { deadLetterId: entry.deadLetterId } : {};
  const about = { kind: beat, ...told, place, ways: kind === "discarded" ? [] : [way], ...letter };
  return { ...about, title: fill(title, words), text: fill(text, words) };
}

/** What the sentences of one kind are filled with; those that all have in common come with them. */
function wordsOf(entry: Of<CopyKind>, copy: Copy): Record<string, string> {
  const { retries } = copy;
  switch (entry.kind) {
    case "processed": {
      const after = retries === 1 ? "a delayed retry" : `${retries} delayed retries`;
      return { attempt: retries > 0 ? `It was attempt ${retries + 1}, after ${after}.` : "" };
    }
    case "taken":
      return { held: duration(entry.heldMs) };
    case "duplicate": {
      const repeat = entry.duplicates > 1 ? `It was repeat ${entry.duplicates}.` : "";
      return { absorbed: remark(WHY_ABSORBED, copy), repeat };
    }
    case "retry": {
      const dueMs = entry.dueAt === null ? null : new Date(entry.dueAt).getTime() - entry.at;
      const due = dueMs === null ? "" : `It is due again ${duration(dueMs)} later.`;
      return { attempt: retries > 1 ? `: attempt ${retries}` : "", error: sentence(entry.error), due };
    }
    case "dead-letter":
      return { dead: WHY_DEAD[entry.reason] ?? `Reason: ${entry.reason}. No retry would change that.` };
    default:
      return {};
  }
}

/** Has what a consumer's transaction wrote in the tables; answers with what it did as a sentence, and with what it wrote. */
function effectOf(
  { consumer, eventType }: Of<"processed">,
  follows: readonly Entry[],
  state: State,
): { title: string; wrote: string } {
  const events = follows.filter((each) => each.kind === "emitted");
  const move = follows.find((each) => each.kind === "status");
  const types = events.flatMap(({ eventType }) => eventType ?? []);
  append(events, state);
  const module = moduleOf(consumer, state.queues);
  if (move) state.rows.set("orders", move.to);
  for (const type of module === "orders" ? [] : types) {
    // Of what is not known here, the event's last word.
    state.rows.set(module, TOLD[type]?.row ?? (type.split(".").at(-1) ?? type).toUpperCase());
  }
  const [type = ""] = types;
  const what = `${nameOf(consumer, state)} processed ${eventType}`;
  const unknown = { title: type ? `${what}, and told ${type}` : what, wrote: "the effect" };
  const moved = move && {
    title: MOVED[move.to] ?? `The order is ${move.to}`,
    wrote: `the order from ${move.from} to ${move.to}`,
  };
  const { title, wrote } = moved ?? TOLD[type] ?? unknown;
  const outbox = types.length > 0 ? [`${listOf(types)} in the outbox`] : [];
  return { title, wrote: oneTransaction([wrote, `the inbox row for ${eventType}`, ...outbox]) };
}

/** Puts a copy where it is now; answers with what led there, which is told and over. */
function settle(copy: Copy, state: Copy["state"]): { cause?: BeatCause } {
  const { cause } = copy;
  Object.assign(copy, { state, cause: null, tookMs: 0 });
  return cause ? { cause } : {};
}

function remark(words: typeof WHY_PROCESSED, { cause, tookMs }: Copy): string {
  return cause === null ? "" : fill(words[cause] ?? "", { time: duration(tookMs) });
}

/** Where each message is by now, and what the tables hold, which held `before` what they did at the beat before. */
function pictureOf({ events, rows }: State, before: Beat["tables"]): Pick<Beat, "messages" | "tables"> {
  const messages = [...events].flatMap(([id, { type, emittedAt, publishedAt, copies }]): Whereabouts[] => [
    ...(emittedAt !== null && publishedAt === null
      ? [{ id, type, place: "outbox", state: "waits" } as const]
      : []),
    ...[...copies].map(([consumer, { state }]) => {
      const place = `${state === "waits" ? "queue" : "consumer"}:${consumer}` as const;
      return { id, type, place, state: state === "taken" ? "waits" : state };
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
    return { table, holds, isChanged: before.find((each) => each.table === table)?.holds !== holds };
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
  return capitalized(moduleOf(consumer, queues));
}

function capitalized(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function oneTransaction(wrote: readonly string[]): string {
  return `One transaction: ${listOf(wrote)}.`;
}

function sentence(words: string): string {
  const text = capitalized(words);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function since(at: number, start: number): string {
  return at - start < 10_000 ? `${at - start} ms` : duration(at - start);
}
