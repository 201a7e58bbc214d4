import { assertEquals, assertStringIncludes } from "@std/assert";
import { banner, untilReady, withoutPassword } from "./readiness.ts";

Deno.test("untilReady() waits until each check was met once, and a failing look is just not yet", async () => {
  let looks = 0;
  const checks = [
    { name: "at once", isReady: () => Promise.resolve(true) },
    {
      name: "third time",
      isReady: () => ++looks < 3 ? Promise.reject(new Error("refused")) : Promise.resolve(true),
    },
  ];
  const stop = new AbortController().signal;
  assertEquals(await untilReady(checks, { patienceMs: 60_000, onLate: () => {}, stop }), true);
  assertEquals(looks, 3);
});

Deno.test("untilReady() names once who is late, goes on waiting, and ends with the stop", async () => {
  const stop = new AbortController();
  const late: (readonly string[])[] = [];
  let looks = 0;
  const checks = [
    { name: "ready", isReady: () => Promise.resolve(true) },
    { name: "never", isReady: () => (++looks === 3 && stop.abort(), Promise.resolve(false)) },
  ];
  const onLate = (names: readonly string[]) => late.push(names);
  assertEquals(await untilReady(checks, { patienceMs: -1, onLate, stop: stop.signal }), false);
  assertEquals(late, [["never"]]);
});

const facts = {
  apiUrl: "http://127.0.0.1:8000",
  databaseUrl: "postgres://orderflow:sesame@127.0.0.1:5433/orderflow",
  amqpUrl: "amqp://guest:sesame@127.0.0.1:5673",
  embedded: { database: true, broker: false },
  home: ".orderflow",
  processes: ["api", "one", "two", "three"].map((name, i) => ({ name, pid: 100 + i })),
  startMs: 1234,
};

Deno.test("banner() tells URLs, what is embedded, every process and a line to try, and no password", () => {
  const text = banner(facts);
  assertStringIncludes(
    text,
    "postgres://orderflow:***@127.0.0.1:5433/orderflow (embedded, data in .orderflow/postgres)",
  );
  assertStringIncludes(text, "amqp://guest:***@127.0.0.1:5673 (as AMQP_URL says)");
  assertStringIncludes(text, "api 100, one 101, two 102\n              three 103");
  assertStringIncludes(text, "curl -i http://127.0.0.1:8000/orders -H");
  assertEquals(text.includes("sesame"), false);
  const several = banner({ ...facts, amqpUrl: "amqp://u:sesame@a:5672,amqp://u:sesame@b:5672" });
  assertStringIncludes(several, "amqp://u:***@a:5672,amqp://u:***@b:5672 (as AMQP_URL says)");
});

Deno.test("withoutPassword() leaves a URL without one as it is", () => {
  assertEquals(
    withoutPassword("postgres://me@db.example:5432/x?sslmode=require"),
    "postgres://me@db.example:5432/x?sslmode=require",
  );
});
