// Message bodies that no consumer can process: bad by construction, whatever the code makes of them.

import fc from "fast-check";
import { EVENT_TYPES, eventData, type EventType, NOTIFICATION_TYPES } from "../../shared/events.ts";

export type Generator<T> = fc.Arbitrary<T>;
type Json = Record<string, unknown>;

/** Strings that have broken parsers, databases or logs: NULs, halves of surrogate pairs, names from prototypes, size. */
export const nastyText: Generator<string> = fc.oneof(
  fc.constantFrom("\0", "a\0b", "\0\0\0"),
  fc.constantFrom(..."|\ud800|\udc00x|\u{1F4A5}|\uFFFF|\u2028|\\|\"|%s|''; --".split("|")),
  fc.constantFrom("__proto__", "constructor", "toString", "hasOwnProperty", "prototype"),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.nat(60).map((n) => "\u{1F4A5}".repeat(n)),
);

/** A marker that becomes a number which is too large for a double, once the body is text. */
const HUGE = "huge number";

/** Values that are right for no field of an event or an order; to be written with `jsonOf`. */
export const wrongValue: Generator<unknown> = fc.oneof(
  fc.constantFrom(null, true, false, 0, -0, -1, 1.5, 2 ** 53, -(2 ** 63), 1e308, 5e-324, HUGE),
  fc.constantFrom([], {}, [[]], { "a": { "b": [null] } }),
  fc.nat(2000).map((depth) => Array.from({ length: depth }).reduce<unknown>((inner) => [inner], 0)),
);

/** A value as JSON, numbers that no double can hold included. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value).replaceAll(JSON.stringify(HUGE), "1e999");
}

const uuid = fc.uuid();
const goodFields: Readonly<Record<string, Generator<unknown>>> = {
  amount: fc.nat(99_999).map((cents) => `${cents + 1}.50`),
  reason: fc.oneof(nastyText.filter((text) => text !== ""), fc.constant("no seat left")),
  notificationType: fc.constantFrom(...NOTIFICATION_TYPES),
};

/** A valid event of one of the types, about nothing that exists. */
export function strangersEvent(types: readonly EventType[]): Generator<Json> {
  const dataOf = (type: EventType) =>
    Object.fromEntries(Object.keys(eventData[type].shape).map((name) => [name, goodFields[name] ?? uuid]));
  return fc.constantFrom(...types).chain((type) =>
    fc.record({
      eventId: uuid,
      type: fc.constant(type),
      version: fc.constant(1),
      occurredAt: fc.constant("2026-01-02T03:04:05.678Z"),
      correlationId: fc.stringMatching(/^[\x21-\x7e]{1,20}$/),
      data: fc.record(dataOf(type)),
    })
  );
}

/** Bodies that a queue bound to `types` must not accept; most are a valid event but for one thing. */
export function badBody(types: readonly EventType[]): Generator<Uint8Array> {
  const event = strangersEvent(types);
  const text = event.map(jsonOf);
  const others = EVENT_TYPES.filter((type) => !types.includes(type));
  const fraction = fc.double({ min: 0, max: 0.999, noNaN: true });
  const tooLong = fc.integer({ min: 501, max: 100 * 1024 });
  const bodies: [weight: number, arbitrary: Generator<string | Uint8Array>][] = [
    [8, fc.uint8Array({ maxLength: 200 }).map((bytes) => Uint8Array.of(0xff, ...bytes))],
    [8, fc.string({ unit: "binary", maxLength: 100 })],
    [8, fc.tuple(fc.nat(8), nastyText).map(([n, text]) => " ".repeat(n) + text + "\u{1F4A5}".repeat(20))],
    [8, fc.json()],
    [15, fc.tuple(text, fraction).map((it) => cut(...it))],
    [10, fc.tuple(text, fc.nat(), fc.constantFrom(0x00, 0xff)).map((it) => spoil(...it))],
    [25, fc.tuple(event, fc.nat(), wrongValue).map((it) => jsonOf(replace(...it)))],
    [15, fc.tuple(event, fc.nat(), nastyText).map((it) => jsonOf(replaceText(...it)))],
    [10, fc.tuple(event, fc.nat()).map((it) => jsonOf(replace(...it, undefined)))],
    [10, strangersEvent(others).map(jsonOf)],
    [4, text.map((text) => `${text}${text}`)],
    [4, text.map((text) => new Uint8Array([...text].flatMap((char) => [char.charCodeAt(0) & 0x7f, 0])))],
    [4, text.map((text) => `{"__proto__":${text}}`)],
    [2, fc.nat(20_000).map((depth) => '{"data":'.repeat(depth) + "[".repeat(depth))],
    [2, fc.tuple(event, tooLong).map(([event, n]) => jsonOf(replaceText(event, n, "x".repeat(n))))],
  ];
  return fc.oneof(...bodies.map(([weight, arbitrary]) => ({ weight, arbitrary }))).map((body) =>
    typeof body === "string" ? new TextEncoder().encode(body) : body
  );
}

/** The event with one of its fields, or of its data's, replaced; `undefined` removes it. */
function replace(event: Json, at: number, value: unknown): Json {
  const data: Json = { ...Object(event.data) };
  // A refund's payment may be left out, and says nothing else; version is checked by itself, 1 being the right one.
  const inData = Object.keys(data).filter((name) =>
    event.type !== "refund.requested" || name !== "paymentId"
  );
  const fields = [...Object.keys(event).map((name) => [name]), ...inData.map((name) => ["data", name])];
  const [first = "", second] = fields[at % fields.length] ?? [];
  return second ? { ...event, data: { ...data, [second]: value } } : { ...event, [first]: value };
}

/** As `replace`, with a text: made too long for a reason, and given a space as a correlation id, which may be any else. */
function replaceText(event: Json, at: number, text: string): Json {
  const changed = replace(event, at, text);
  const data: Json = { ...Object(changed.data) };
  if (changed.correlationId === text) return { ...changed, correlationId: `${text} ` };
  if (data.reason !== text || text === "") return changed;
  return { ...changed, data: { ...data, reason: text.padEnd(2000, text) } };
}

function cut(text: string, at: number): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  return bytes.slice(0, Math.floor(bytes.length * at));
}

/** The text with one byte replaced by one that may stand nowhere in JSON or nowhere in UTF-8. */
function spoil(text: string, at: number, byte: number): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  bytes[at % bytes.length] = byte;
  return bytes;
}

/** How many requests, and how many messages, a fuzz test tries; those of every run are others. */
export const FUZZ_RUNS: number = Number(Deno.env.get("FUZZ_RUNS")) || 2000;

/**
 * Runs `run` with the seed that the variable `FUZZ_SEED` names, or with a random one.
 *
 * Errors: what `run` rejects with, as the cause of an error that names the seed.
 */
export async function withFuzzSeed(run: (seed: number) => Promise<void>): Promise<void> {
  const seed = Number(Deno.env.get("FUZZ_SEED")) || Math.floor(Math.random() * 2 ** 31);
  try {
    await run(seed);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`With FUZZ_SEED=${seed}: ${why}`, { cause });
  }
}
