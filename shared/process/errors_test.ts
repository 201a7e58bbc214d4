import { assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import fc from "fast-check";
import { bisect, kindOfError, messageOf, TransientError } from "./errors.ts";

/** An error as the server sends it; the client's own class has no public constructor for a code. */
function serverError(code: string): Error {
  return Object.assign(new postgres.PostgresError(code), { code });
}

Deno.test("kindOfError() takes the database being away as an outage", () => {
  for (const code of ["08006", "53300", "55000", "57P01", "57P02", "57P03", "58030", "25006"]) {
    assertEquals(kindOfError(serverError(code)), "outage", code);
  }
  for (const code of ["ECONNREFUSED", "CONNECTION_CLOSED", "CONNECT_TIMEOUT"]) {
    assertEquals(kindOfError(Object.assign(new Error("x"), { code })), "outage", code);
  }
});

Deno.test("kindOfError() takes locks, conflicts and time-outs as transient", () => {
  for (const code of ["40001", "40P01", "55P03", "57014"]) {
    assertEquals(kindOfError(serverError(code)), "transient", code);
  }
  assertEquals(kindOfError(new TransientError("no answer")), "transient");
});

Deno.test("kindOfError() takes bad data, bugs and the unknown as permanent", () => {
  for (const code of ["22P02", "23505", "23514", "42501", "42P01"]) {
    assertEquals(kindOfError(serverError(code)), "permanent", code);
  }
  assertEquals(kindOfError(new TypeError("x is undefined")), "permanent");
  assertEquals(kindOfError("a string"), "permanent");
});

Deno.test("messageOf() finds words in whatever was thrown", () => {
  assertEquals(messageOf(new Error("boom")), "boom");
  assertEquals(messageOf("boom"), "boom");
  assertEquals(messageOf(new AggregateError([new Error("a"), new Error("b")])), "a; b");
});

const double = (items: readonly number[]) => Promise.resolve(items.map((n) => n * 2));

Deno.test("bisect() runs a good batch once", async () => {
  let runs = 0;
  const results = await bisect([1, 2, 3], (items) => {
    runs++;
    return double(items);
  });
  assertEquals(runs, 1);
  assertEquals(results.map((r) => r.status === "fulfilled" && r.value), [2, 4, 6]);
});

Deno.test("bisect() fails exactly the items at fault, in place, in few runs", async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 60 }), async (isBad) => {
    let runs = 0;
    const items = isBad.map((_, i) => i);
    const results = await bisect(items, (batch) => {
      runs++;
      const bad = batch.find((i) => isBad[i]);
      return bad === undefined ? double(batch) : Promise.reject(new Error(`bad ${bad}`));
    });
    assertEquals(results.map((r) => r.status === "rejected"), isBad);
    const faults = isBad.filter(Boolean).length;
    const most = 1 + 2 * faults * Math.ceil(Math.log2(Math.max(items.length, 2)));
    assertEquals(runs <= most, true, `${runs} runs for ${faults} faults in ${items.length}`);
  }));
});

Deno.test("bisect() gives up on an outage, which no item is at fault for", async () => {
  let runs = 0;
  await assertRejects(() =>
    bisect([1, 2, 3, 4], () => {
      runs++;
      return Promise.reject(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
    })
  );
  assertEquals(runs, 1);
});
