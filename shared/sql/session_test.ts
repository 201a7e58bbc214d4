// What holds of both kinds of transactions, `transaction()` on a pool and a session's, and what holds of a session alone.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assertEquals, assertRejects } from "@std/assert";
import { type CutProxy, startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { kindOfError } from "../process/errors.ts";
import { withTimeout } from "../process/stop.ts";
import { type Queryable, type SessionOptions, type Sql, transaction } from "./connect.ts";
import { openSession } from "./session.ts";
import { insertingKey, keys, poolOf } from "./testdata/probe.ts";

shareTestSchema();

type Statements = readonly ReturnType<typeof insertingKey>[];

/** Runs a transaction: its first statement, then work on the rows of that, then its last statements. */
type Transact = <T>(
  first: (sql: Queryable) => Statements[number],
  work: (rows: readonly { readonly key: string }[]) => T | Promise<T>,
  last?: (sql: Queryable) => Statements,
) => Promise<T>;

type Way = (url: string, options?: Partial<SessionOptions>) => AsyncDisposable & { readonly run: Transact };

const onPool: Way = (url, options) => {
  const pool = poolOf(url, options);
  return {
    run: (first, work, last = () => []) =>
      transaction(pool.sql, async (tx) => {
        const rows = await first(tx).catch(async (error) => {
          await insertingKey(tx, "an answer to what failed").catch(() => {});
          throw error;
        });
        const value = await work(rows);
        await Promise.all(last(tx));
        return value;
      }),
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
};

const onSession: Way = (url, options) => {
  const session = openSession(url, { name: "test", role: null, ...options });
  return {
    run: (first, work, last = () => []) =>
      session.transaction(first, async (rows) => ({ value: await work(rows), last })),
    [Symbol.asyncDispose]: () => session.end(),
  };
};

const ways = { "transaction()": onPool, "a session's transaction": onSession };

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

for (const [what, open] of Object.entries(ways)) {
  Deno.test(`${what} commits what it did, or rolls back and rejects with the same, and the next one goes on`, async () => {
    await using db = await testSchema();
    await using on = open(db.url);
    const answer = await on.run(
      (sql) => insertingKey(sql, "a"),
      ([row]) => row?.key,
      (sql) => [insertingKey(sql, "b"), insertingKey(sql, "c")],
    );
    assertEquals(answer, "a");
    const dividing = (sql: Queryable) => sql<{ key: string }[]>`select 1 / 0 as key`;
    const elsewhere = Object.assign(new Error("the broker went"), { code: "ECONNRESET" }); // its own connection is whole
    const failing: [...Parameters<Transact>, message: string][] = [
      [dividing, () => 0, () => [], "division by zero"],
      [(sql) => insertingKey(sql, "d"), () => Promise.reject(elsewhere), () => [], "the broker went"],
      [
        (sql) => insertingKey(sql, "e"),
        () => 0,
        (sql) => [insertingKey(sql, "f"), dividing(sql), insertingKey(sql, "g")],
        "division by zero",
      ],
    ];
    for (const [first, work, last, message] of failing) {
      await assertRejects(() => on.run(first, work, last), Error, message);
    }
    await on.run((sql) => insertingKey(sql, "h"), () => 0);
    assertEquals(await keys(db.sql), ["a", "b", "c", "h"]);
  });

  for (const [how, { of: breakOff, moments, rounds, ...options }] of Object.entries(breaks)) {
    Deno.test(`${what} whose connection ${how} rejects as an outage, sends nothing more, even over another connection, and the next one goes on`, async () => {
      await using db = await testSchema();
      await using proxy = startCutProxy(db.url, 5432);
      await using on = open(proxy.url, options);
      const working = () => eventually("it to work", () => backendOf(on.run));
      for (const [n, moment] of Array.from({ length: rounds }, () => moments).flat().entries()) {
        const pid = await working();
        const broken = eventually(`the ${moment} part`, () => isAt(db.sql, pid, moment))
          .then(() => breakOff(proxy, pid, db.sql));
        const isUpAgain = Promise.withResolvers<void>();
        // With a parameter, and on a new connection, the client keeps back what follows until it is described.
        const stay = (sql: Queryable) => sql<{ key: string }[]>`select pg_sleep(${5}::int)::text as key`;
        const lost = on.run(
          (sql) => moment === "first" ? stay(sql) : insertingKey(sql, `first ${n}`),
          () => moment === "work" ? isUpAgain.promise : undefined, // the loss is told while the work goes on
          (sql) => [
            insertingKey(sql, `last ${n}`),
            ...moment === "last" ? [stay(sql)] : [],
            insertingKey(sql, `kept back ${n}`),
          ],
        );
        const untold = "the loss is not told within 10 s";
        const error = await assertRejects(() => withTimeout(10_000, lost), Error, undefined, untold);
        assertEquals(kindOfError(error), "outage", `${moment}: ${error}`);
        await broken;
        proxy.restore();
        await working();
        isUpAgain.resolve();
      }
      await working();
      assertEquals(await keys(db.sql), []);
    });
  }
}

Deno.test("a session's transaction takes two round trips", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using on = onSession(proxy.url);
  const add = (...[one = "", ...others]: string[]) =>
    on.run(
      (sql) => insertingKey(sql, one),
      () => {},
      (sql) => others.map((key) => insertingKey(sql, key)),
    );
  await add("a", "b", "c"); // connects, and prepares its statements
  const before = proxy.roundTrips();
  await add("d", "e", "f");
  await add("g");
  assertEquals(proxy.roundTrips() - before, 4);
});

Deno.test("a session refuses a second transaction while one is under way", async () => {
  await using db = await testSchema();
  await using on = onSession(db.url);
  const add = (key: string) => on.run((sql) => insertingKey(sql, key), () => 0);
  const [one, two] = await Promise.allSettled([add("a"), add("b")]);
  assertEquals([one.status, two.status], ["fulfilled", "rejected"]);
  assertEquals(await keys(db.sql), ["a"]);
});

Deno.test("a session that was lost does not send what the client has kept back, however late its next transaction comes", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using on = onSession(proxy.url);
  const pid = await backendOf(on.run);
  const broken = eventually("the last part", () => isAt(db.sql, pid, "last"))
    .then(() => proxy.breakConnections());
  await assertRejects(() =>
    on.run(
      (sql) => insertingKey(sql, "first"),
      () => 0,
      (sql) => [sql`select pg_sleep(${5}::int)::text as key`, insertingKey(sql, "kept back")],
    )
  );
  await broken;
  for (let later = 0; later < 5; later++) { // a connection that was made for it would be up before all of these
    await using other = onSession(proxy.url);
    await backendOf(other.run);
  }
  assertEquals(await keys(db.sql), []);
});

Deno.test("a session that was lost at rest answers with the next transaction, or says that it was lost", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using on = onSession(proxy.url);
  for (let round = 0; round < 20; round++) {
    const pid = await eventually("the session to work", () => backendOf(on.run));
    proxy.breakConnections();
    if (round % 2 > 0) {
      await eventually("the loss", async () => {
        return (await db.sql`select from pg_stat_activity where pid = ${pid}`).count === 0;
      });
    }
    const outcome = await backendOf(on.run).then(() => "answered", kindOfError);
    assertEquals(["answered", "outage"].includes(outcome), true, outcome);
  }
});

Deno.test("a session keeps no transaction's rows", async () => {
  await using db = await testSchema();
  await using on = onSession(db.url);
  const kept: WeakRef<readonly object[]>[] = [];
  for (let n = 0; n < 5; n++) {
    await on.run((sql) => sql<{ key: string }[]>`select 'x' as key`, (rows) => {
      kept.push(new WeakRef(rows));
      return { rows };
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
async function backendOf(run: Transact): Promise<number> {
  return await run(
    (sql) => sql<{ key: string }[]>`select pg_backend_pid() as key`,
    ([row]) => Number(row?.key),
  );
}

async function isAt(sql: Sql, pid: number, moment: Moment): Promise<boolean> {
  const state = moment === "work" ? "idle in transaction" : "active";
  const query = moment === "work" ? "%" : "%pg_sleep(%";
  const rows = await sql`
    select from pg_stat_activity where pid = ${pid} and state = ${state} and query like ${query}`;
  return rows.length > 0;
}
