import { assertEquals } from "@std/assert";
import postgres from "postgres";
import fc from "fast-check";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import {
  bisect,
  type ErrorKind,
  keepDoing,
  kindOfError,
  messageOf,
  SQLSTATES,
  TransientError,
} from "./errors.ts";
import type { Logger } from "./log.ts";

/** An error as the server sends it; the client's own class has no public constructor for a code. */
function serverError(code: string, severity = "ERROR"): Error {
  return Object.assign(new postgres.PostgresError(code), { code, severity });
}

const codedError = (code: unknown) => Object.assign(new Error("x"), { code });

/** Codes of each kind, as they were met. */
const STATES: Readonly<Record<ErrorKind, readonly string[]>> = {
  permanent: ["21000", "22000", "22P02", "22003", "23505", "23514", "44000", "54000", "P0001"],
  transient: ["25P03", "40001", "40P01", "55P03", "57014"],
  // deno-fmt-ignore
  outage: [
    "08006", "0A000", "25006", "25P02", "25P04", "28000", "28P01", "3D000", "42501", "42601", "42703", "42P01", "53100",
    "53300", "55000", "55006", "57P01", "57P02", "57P03", "57P05", "58030", "72000", "F0000", "XX000", "XX001",
  ],
};

Deno.test("kindOfError() holds against a message only what its data can cause", () => {
  for (const kind of ["permanent", "transient", "outage"] as const) {
    for (const code of STATES[kind]) assertEquals(kindOfError(serverError(code)), kind, code);
  }
  assertEquals(kindOfError(serverError("22023", "FATAL")), "outage", "said of a login, not of data");
  assertEquals(kindOfError(new TransientError("no answer")), "transient");
});

Deno.test("kindOfError() takes a connection that cannot be made, or is gone, as an outage; bugs and the unknown as permanent", () => {
  // deno-fmt-ignore
  const outages = [
    "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "EPIPE",
    "EMFILE", "ENOBUFS", "CONNECTION_CLOSED", "CONNECTION_ENDED", "CONNECT_TIMEOUT", "SASL_SIGNATURE_MISMATCH",
    "ERR_SSL_WRONG_VERSION_NUMBER", "CERT_HAS_EXPIRED",
  ];
  for (const code of outages) assertEquals(kindOfError(codedError(code)), "outage", code);
  const coded = ["ERR_INVALID_ARG_TYPE", "UNDEFINED_VALUE", "card_error", 20].map(codedError);
  for (const error of [...coded, new TypeError("x is undefined"), "a string"]) {
    assertEquals(kindOfError(error), "permanent", String(error));
  }
});

Deno.test("the table of SQLSTATEs in specs/reliability.md is the one in the code", async () => {
  const text = await Deno.readTextFile(new URL("../../specs/reliability.md", import.meta.url));
  const [, section = ""] = text.split("\n## Errors\n");
  const rows = section.split("\n").filter((line) => line.startsWith("| `")).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", ""))
  );
  assertEquals(rows, [...SQLSTATES.map((row) => [...row]), ["all others", "outage", ""]]);
});

Deno.test("messageOf() finds words in whatever was thrown", () => {
  assertEquals(messageOf(new Error("boom")), "boom");
  assertEquals(messageOf("boom"), "boom");
  assertEquals(messageOf(new AggregateError([new Error("a"), new Error("b")])), "a; b");
});

const double = (items: readonly number[]) => Promise.resolve(items.map((n) => n * 2));

Deno.test("bisect() fails exactly the items at fault, in place, in few runs", async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 60 }), async (isBad) => {
    let runs = 0;
    const items = isBad.map((_, i) => i);
    const results = await bisect(items, (batch) => {
      runs++;
      const bad = batch.find((i) => isBad[i]);
      return bad === undefined ? double(batch) : Promise.reject(new Error(`bad ${bad}`));
    });
    const values = results.map((r) => r.status === "fulfilled" ? r.value : messageOf(r.reason));
    assertEquals(values, isBad.map((bad, i) => bad ? `bad ${i}` : 2 * i));
    const faults = isBad.filter(Boolean).length;
    const most = 1 + 2 * faults * Math.ceil(Math.log2(Math.max(items.length, 2)));
    assertEquals(runs <= most, true, `${runs} runs for ${faults} faults in ${items.length}`);
  }));
});

const outage = codedError("ECONNREFUSED");

Deno.test("bisect() ends with an outage: what was stored keeps its result, all others have the outage", async () => {
  const stored: number[] = [];
  let runs = 0;
  const results = await bisect([0, 1, 2, 3, 4, 5, 6, 7], (items) => {
    runs++;
    if (items.includes(0)) {
      return Promise.reject(items.length > 1 ? new Error("bad 0") : new TransientError("late"));
    }
    if (items.includes(2)) return Promise.reject(outage);
    stored.push(...items);
    return double(items);
  });
  const told = results.map((result) =>
    result.status === "fulfilled" ? result.value : messageOf(result.reason)
  );
  assertEquals(told, ["late", 2, "x", "x", "x", "x", "x", "x"]);
  assertEquals([stored, runs], [[1], 6]);
});

Deno.test("bisect() splits only for the errors that the caller says an item may be at fault for", async () => {
  let runs = 0;
  const results = await bisect([1, 2, 3, 4], () => {
    runs++;
    return Promise.reject(new TransientError("late"));
  }, (error) => kindOfError(error) === "permanent");
  assertEquals([runs, results.map(({ status }) => status)], [1, Array(4).fill("rejected")]);
});

const HOUR_MS = 3_600_000;

/** A log that keeps what it is warned of. */
function warnings(): { readonly log: Logger; readonly told: unknown[] } {
  const told: unknown[] = [];
  const log: Logger = Object.create(testLog, {
    warning: { value: (message: string, properties: unknown) => told.push([message, properties]) },
  });
  return { log, told };
}

Deno.test("keepDoing() tells of failures in a row once, goes on, and tells again after a round that worked", async () => {
  const { log, told } = warnings();
  const stop = new AbortController();
  const outcomes = ["bad", "bad", "good", "bad", "bad"];
  let rounds = 0;
  const { running } = keepDoing("Sweeping", () => {
    const outcome = outcomes[rounds++];
    if (outcome === undefined) stop.abort();
    return outcome === "bad" ? Promise.reject(new Error(`no broom ${rounds}`)) : Promise.resolve();
  }, { everyMs: 1, log, stop: stop.signal });
  await running;
  assertEquals(told, [
    ["Sweeping failed; trying again", { error: "no broom 1" }],
    ["Sweeping failed; trying again", { error: "no broom 4" }],
  ]);
});

Deno.test("keepDoing() pauses for as long as a round says, and does the next one at once when it is woken", async () => {
  const stop = new AbortController();
  let rounds = 0;
  const chore = keepDoing("Sweeping", () => {
    rounds++;
    if (rounds === 2) chore.wake(); // during a round: the next one follows it
    return Promise.resolve(rounds === 1 ? 0 : HOUR_MS);
  }, { everyMs: HOUR_MS, log: testLog, stop: stop.signal });
  await eventually("the pause of an hour", () => rounds === 3);
  chore.wake();
  await eventually("the round that was asked for", () => rounds === 4);
  stop.abort();
  await chore.running;
  assertEquals(rounds, 4);
});

Deno.test("keepDoing() stops although a round hangs, no later than its grace allows", async () => {
  const { log, told } = warnings();
  const stop = new AbortController();
  const hanging = Promise.withResolvers<void>();
  const options = { everyMs: 1, graceMs: 20, log, stop: stop.signal };
  const { running } = keepDoing("Sweeping", () => hanging.promise, options);
  stop.abort();
  await running;
  hanging.reject(new Error("what it met with then is nobody's business"));
  assertEquals(told, []);
});
