import { assertEquals } from "@std/assert";
import postgres from "postgres";
import { kindOfError, messageOf, TransientError } from "./errors.ts";

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
