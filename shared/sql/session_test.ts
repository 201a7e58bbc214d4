import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assertEquals, assertRejects } from "@std/assert";
import { type CutProxy, startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { kindOfError } from "../process/errors.ts";
import { withTimeout } from "../process/stop.ts";
import type { Queryable, Sql } from "./connect.ts";
import { type LastPart, openSession, type Session } from "./session.ts";
import { insertingKey, keys } from "./testdata/probe.ts";

shareTestSchema();

Deno.test("a session's transaction commits its first and its last statements, in two round trips", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using on = sessionOf(proxy.url);
  const add = (keys: readonly string[]) =>
    on.session.transaction(
      (sql) => insertingKey(sql, keys[0] ?? ""),
      (rows) =>
        answering(rows.map(({ key }) => key), (sql) => keys.slice(1).map((key) => insertingKey(sql, key))),
    );
  assertEquals(await add(["a", "b", "c"]), ["a"]); // connects, and prepares its statements
  const before = proxy.roundTrips();
  assertEquals(await add(["d", "e", "f"]), ["d"]);
  assertEquals(await add(["g"]), ["g"]);
  assertEquals(proxy.roundTrips() - before, 4);
  assertEquals(await keys(db.sql), ["a", "b", "c", "d", "e", "f", "g"]);
});

Deno.test("a session's transaction rolls back when a statement fails or its work rejects, and the next one goes on", async () => {
  await using db = await testSchema();
  await using on = sessionOf(db.url);
  const failure = new Error("no");
  const failing = [
    [(sql: Queryable) => sql<{ key: string }[]>`select 1 / 0 as key`, () => answering(0), "division by zero"],
    [(sql: Queryable) => insertingKey(sql, "a"), () => Promise.reject(failure), "no"],
    [
      (sql: Queryable) => insertingKey(sql, "b"),
      () => answering(0, (sql) => [insertingKey(sql, "c"), sql`select 1 / 0`, insertingKey(sql, "d")]),
      "division by zero",
    ],
  ] as const;
  for (const [first, work, message] of failing) {
    await assertRejects(() => on.session.transaction(first, work), Error, message);
  }
  await on.session.transaction((sql) => insertingKey(sql, "e"), () => answering(0));
  assertEquals(await keys(db.sql), ["e"]);
});

Deno.test("a session refuses a second transaction while one is under way", async () => {
  await using db = await testSchema();
  await using on = sessionOf(db.url);
  const add = (key: string) => on.session.transaction((sql) => insertingKey(sql, key), () => answering(0));
  const [one, two] = await Promise.allSettled([add("a"), add("b")]);
  assertEquals([one.status, two.status], ["fulfilled", "rejected"]);
  assertEquals(await keys(db.sql), ["a"]);
});

type Moment = "first" | "work" | "last";

interface Break {
  readonly of: (proxy: CutProxy, pid: number, db: Sql) => unknown;
  readonly moments: readonly Moment[];
  readonly rounds: number;
  readonly statementTimeoutMs?: number;
}

const breaks: Record<string, Break> = {
  "is cut": { of: (proxy) => proxy.cut(), moments: ["first", "work", "last"], rounds: 10 },
  "is ended by the server": {
    of: (_, pid, db) => db`select pg_terminate_backend(${pid})`.execute(),
    moments: ["first", "work", "last"],
    rounds: 10,
  },
  "goes silent": {
    of: (proxy) => proxy.silence(),
    moments: ["first", "last"],
    rounds: 1,
    statementTimeoutMs: 100,
  },
};

for (const [how, { of: breakOff, moments, rounds, ...options }] of Object.entries(breaks)) {
  Deno.test(`a session whose connection ${how} rejects as an outage, sends nothing more, and goes on with another`, async () => {
    await using db = await testSchema();
    await using proxy = startCutProxy(db.url, 5432);
    await using on = sessionOf(proxy.url, options);
    for (let round = 0; round < rounds; round++) {
      for (const moment of moments) {
        const pid = await eventually("the session to work", () => backendOf(on.session));
        const broken = eventually(`the ${moment} part`, () => isAt(db.sql, pid, moment))
          .then(() => breakOff(proxy, pid, db.sql));
        const told = Promise.withResolvers<void>();
        // With a parameter, and on a new connection, the client keeps back what follows until it is described.
        const stay = (sql: Queryable, at: Moment) =>
          at === moment ? [sql<{ key: string }[]>`select pg_sleep(${5}::int)::text as key`] : [];
        const lost = on.session.transaction(
          (sql) => stay(sql, "first")[0] ?? insertingKey(sql, `first ${round}`),
          async () => {
            if (moment === "work") await told.promise; // the loss is told while the work goes on
            return answering(0, (sql) => [
              insertingKey(sql, `last ${round}`),
              ...stay(sql, "last"),
              insertingKey(sql, `kept back ${round}`),
            ]);
          },
        );
        const error = await assertRejects(
          () => withTimeout(10_000, lost),
          Error,
          undefined,
          "the loss is not told within 10 s",
        );
        told.resolve();
        assertEquals(kindOfError(error), "outage", `${moment}: ${error}`);
        await broken;
        proxy.restore();
      }
    }
    assertEquals(await keys(db.sql), []);
  });
}

Deno.test("a session that was lost does not send what the client has kept back, however late its next transaction comes", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using on = sessionOf(proxy.url);
  const pid = await backendOf(on.session);
  const broken = eventually("the last part", () => isAt(db.sql, pid, "last"))
    .then(() => proxy.breakConnections());
  await assertRejects(() =>
    on.session.transaction(
      (sql) => insertingKey(sql, "first"),
      () => answering(0, (sql) => [sql`select pg_sleep(${5}::int)`, insertingKey(sql, "kept back")]),
    )
  );
  await broken;
  for (let later = 0; later < 5; later++) { // a connection that was made for it would be up before all of these
    await using other = sessionOf(proxy.url);
    await backendOf(other.session);
  }
  assertEquals(await keys(db.sql), []);
});

Deno.test("a session that was lost at rest answers with the next transaction, or says that it was lost", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using on = sessionOf(proxy.url);
  for (let round = 0; round < 20; round++) {
    const pid = await eventually("the session to work", () => backendOf(on.session));
    proxy.breakConnections();
    if (round % 2 > 0) await eventually("the loss", () => isGone(db.sql, pid));
    const outcome = await backendOf(on.session).then(() => "answered", kindOfError);
    assertEquals(["answered", "outage"].includes(outcome), true, outcome);
  }
});

Deno.test("a session keeps no transaction's rows", async () => {
  await using db = await testSchema();
  await using on = sessionOf(db.url);
  const kept: WeakRef<readonly object[]>[] = [];
  for (let n = 0; n < 5; n++) {
    await on.session.transaction((sql) => sql<{ key: string }[]>`select 'x' as key`, (rows) => {
      kept.push(new WeakRef(rows));
      return answering({ rows });
    });
  }
  setFlagsFromString("--expose_gc");
  const collectGarbage: () => void = runInNewContext("gc");
  await eventually("the rows to be gone, but perhaps the last ones", () => {
    collectGarbage();
    return kept.filter((rows) => rows.deref()).length <= 1;
  });
});

/** The process id of the server's end. */
async function backendOf(session: Session): Promise<number> {
  return await session.transaction(
    (sql) => sql<{ pid: number }[]>`select pg_backend_pid() as pid`,
    ([backend]) => answering(backend?.pid ?? 0),
  );
}

async function isAt(sql: Sql, pid: number, moment: Moment): Promise<boolean> {
  const state = moment === "work" ? "idle in transaction" : "active";
  const query = moment === "work" ? "%" : "%pg_sleep(%";
  const rows = await sql`
    select from pg_stat_activity where pid = ${pid} and state = ${state} and query like ${query}`;
  return rows.length > 0;
}

async function isGone(sql: Sql, pid: number): Promise<boolean> {
  return (await sql`select from pg_stat_activity where pid = ${pid}`).length === 0;
}

/** The end of a transaction that answers `value`. */
function answering<T>(value: T, last: LastPart<T>["last"] = () => []): Promise<LastPart<T>> {
  return Promise.resolve({ value, last });
}

function sessionOf(
  url: string,
  options: { readonly statementTimeoutMs?: number } = {},
): AsyncDisposable & { readonly session: Session } {
  const session = openSession(url, { name: "test", role: null, ...options });
  return { session, [Symbol.asyncDispose]: () => session.end() };
}
