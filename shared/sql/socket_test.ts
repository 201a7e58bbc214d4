import { assertEquals, assertRejects } from "@std/assert";
import net from "node:net";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { kindOfError } from "../process/errors.ts";
import { withTimeout } from "../process/stop.ts";
import { type Sql, transaction } from "./connect.ts";
import { insertingKey, poolOf, works } from "./testdata/probe.ts";

shareTestSchema();

/** A server that does `serve` with whoever connects, in front of the one of `url`. */
function startServer(url: string, serve: (client: Deno.Conn, toDatabase: () => Promise<void>) => unknown) {
  const through = new URL(url);
  const { hostname, port } = through;
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const client of listener) {
      await serve(client, async () => {
        const server = await Deno.connect({ hostname, port: Number(port) });
        const ways = [client.readable.pipeTo(server.writable), server.readable.pipeTo(client.writable)];
        void Promise.allSettled(ways); // until one of them ends
      });
    }
  })();
  through.host = `127.0.0.1:${listener.addr.port}`;
  return {
    url: through.href,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

Deno.test("a server that takes connections and hangs up at once is an outage for each statement, and is not asked without a pause", async () => {
  await using db = await testSchema();
  let connections = 0;
  let isAway = true;
  await using proxy = startServer(db.url, (client, toDatabase) => {
    connections++;
    // Once it has been spoken to: what is closed with bytes unread is reset, and that the client takes for an error.
    if (isAway) void client.read(new Uint8Array(1000)).finally(() => client.close());
    else void toDatabase();
  });
  await using pool = poolOf(proxy.url);
  for (let tries = 1; tries <= 3; tries++) {
    const error = await withTimeout(10_000, pool.sql`select 1`.then(() => null, (error) => error));
    assertEquals([kindOfError(error), connections], ["outage", tries]);
  }
  isAway = false;
  await eventually("the pool to work", () => works(pool.sql));
});

Deno.test("a connection that goes silent is an outage for its statements, and is lost with all that were silent for as long", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using impatient = poolOf(proxy.url, { statementTimeoutMs: 100 });
  await using other = poolOf(proxy.url);
  await Promise.all([impatient, other].map(({ sql }) => sql`select 1`));
  proxy.silence();
  // With parameters, the client asks for their types first, and for the result only then.
  const asked = [impatient.sql`select 1`, impatient.sql`select ${1}::int`];
  const outcomes = await withTimeout(10_000, Promise.allSettled(asked));
  const kinds = outcomes?.map((outcome) => outcome.status === "rejected" && kindOfError(outcome.reason));
  assertEquals(kinds, ["outage", "outage"]);
  assertEquals(await withTimeout(5000, works(other.sql)), true, "it waits for itself");
  assertEquals(await works(impatient.sql), true);
});

Deno.test("a statement that follows at once on one whose connection was reset is answered", async () => {
  await using db = await testSchema();
  await using proxy = await startResettingProxy(db.url);
  await using pool = poolOf(proxy.url);
  await pool.sql`select 1`;
  const sleeper = pool.sql`select pg_sleep(5)`.catch(() => pool.sql`select 7 as n`);
  await sleeping(db.sql);
  proxy.reset();
  assertEquals([...await withTimeout(5000, sleeper) ?? []], [{ n: 7 }]);
  assertEquals([...await pool.sql`select 8 as n`], [{ n: 8 }]);
});

/** A proxy that can reset its connections, as a host does that has started anew. */
async function startResettingProxy(serviceUrl: string) {
  const { hostname, port } = new URL(serviceUrl);
  const sockets: net.Socket[] = [];
  const proxy = net.createServer((client) => {
    const server = net.connect(Number(port), hostname);
    sockets.push(client, server);
    for (const socket of [client, server]) socket.on("error", () => {});
    client.pipe(server).pipe(client);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const url = new URL(serviceUrl);
  const address = proxy.address();
  url.port = typeof address === "object" ? `${address?.port}` : "";
  const reset = () => sockets.splice(0).forEach((socket) => socket.resetAndDestroy());
  return {
    url: url.href,
    reset,
    async [Symbol.asyncDispose]() {
      reset();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

const failures: Record<string, (sql: Sql, db: Sql) => Promise<unknown>> = {
  "failed in the midst of its rows": (sql) => sql`select 1 / (5 - n) from generate_series(1, 9) n`,
  "was lost in the midst of its rows": (sql, db) =>
    sql`select n, repeat('x', 9000) from generate_series(1, 9000) n`.forEach(async ({ n }) => {
      if (n === 1) await terminateTestSessions(db);
    }),
  "was ended with its session": (sql, db) => {
    const slow = sql`select pg_sleep(60)`.execute();
    return Promise.all([slow, sleeping(db).then(() => terminateTestSessions(db))]);
  },
};

for (const [what, fail] of Object.entries(failures)) {
  Deno.test(`a statement that ${what} leaves nothing to the next one`, async () => {
    await using db = await testSchema();
    await using proxy = startCutProxy(db.url, 5432);
    await using pool = poolOf(proxy.url);
    await assertRejects(() => fail(pool.sql, db.sql));
    assertEquals([...await pool.sql`select 7 as n`], [{ n: 7 }]);
  });
}

Deno.test("a statement that meets the end of its connection has its own answer, or an outage", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  await using pool = poolOf(proxy.url);
  const stop = new AbortController();
  const wrong: unknown[] = [];
  let asked = 0;
  const asking = Array.from({ length: 4 }, async (_, which) => {
    for (let n = which; !stop.signal.aborted; n += 4) {
      const rows = 1 + n % 50;
      const answer = which === 0 ? pool.sql`select 0 as n, ''::text as text` : pool
        .sql`select n + ${n}::int as n, repeat('x', 900) as text from generate_series(1, ${rows}::int) n`;
      await answer.then((found) => {
        const own = which === 0 ? [0] : Array.from({ length: rows }, (_, i) => n + i + 1);
        if (JSON.stringify(found.map((row) => row?.n)) !== JSON.stringify(own)) wrong.push([n, found]);
        asked++;
      }, (error) => kindOfError(error) === "outage" || wrong.push([n, error]));
    }
  });
  for (let end = 0; end < 60; end++) {
    const before = asked;
    await eventually("answers", () => asked > before + end % 7);
    if (end % 2 === 0) await terminateTestSessions(db.sql);
    else proxy.breakConnections();
  }
  stop.abort();
  await Promise.all(asking);
  assertEquals(wrong, []);
});

async function sleeping(db: Sql): Promise<void> {
  await eventually("a statement to sleep", async () => {
    return (await db`select from pg_stat_activity where wait_event = 'PgSleep'`).length > 0;
  });
}

async function terminateTestSessions(db: Sql): Promise<void> {
  await db`
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'orderflow probe' and datname = current_database()`;
}

const READ_ONLY = "isolation level repeatable read read only";

Deno.test("a connection to a server that takes no writes is lost at once, and comes back with the writes", async () => {
  await using db = await testSchema();
  await using pool = poolOf(db.url);
  const place = () => insertingKey(pool.sql, crypto.randomUUID());
  const backend = async () => (await pool.sql`select pg_backend_pid() as pid`)[0]?.pid;
  const name = new URL(db.url).pathname.slice(1);
  const first = await backend();

  const told = await assertRejects(() => pool.sql`set default_transaction_read_only = on`.then(place));
  assertEquals(kindOfError(told), "outage", "the server has said so");
  const second = await backend();
  const refused = await assertRejects(() =>
    transaction(pool.sql, (tx) => tx`delete from idempotency_keys`, READ_ONLY)
  );
  assertEquals(kindOfError(refused), "outage", "it has refused a statement (25006)");
  assertEquals(new Set([first, second, await backend()]).size, 3);

  await db.sql`alter database ${db.sql(name)} set default_transaction_read_only = on`;
  await terminateTestSessions(db.sql);
  await eventually("no new connection to be taken", async () => !await works(pool.sql));
  const kept = await assertRejects(place, Error, "takes no writes");
  assertEquals(kindOfError(kept), "outage");
  await db.sql`alter database ${db.sql(name)} reset default_transaction_read_only`;
  await eventually("writes", () => place().then(() => true, () => false), 2000);
});

Deno.test("of several servers one that can be used is found, in one try and again after each loss", async () => {
  await using db = await testSchema();
  await using proxy = startCutProxy(db.url, 5432);
  const [, port] = new URL(proxy.url).host.split(":");
  await using pool = poolOf(proxy.url.replace(/@[^/]+/, `@127.0.0.1:1,127.0.0.1:${port},127.0.0.1:2`));
  for (let loss = 0; loss < 3; loss++) {
    if (loss === 0) assertEquals(await works(pool.sql), true);
    await eventually("an answer", () => works(pool.sql));
    proxy.breakConnections();
  }
});

Deno.test("a server without TLS is spoken to where sslmode leaves that open, and is an outage where it does not", async () => {
  await using db = await testSchema();
  const answers = ["N", "S", "NN"]; // the second breaks its word, the third sends more than anybody has asked for
  await using server = startServer(db.url, async (client, toDatabase) => {
    await client.read(new Uint8Array(8));
    const answer = answers[0] ?? "";
    await client.write(new TextEncoder().encode(answer));
    if (answer === "N") await toDatabase();
    else client.close();
  });
  const told = async (mode: string) => {
    await using pool = poolOf(`${server.url}?sslmode=${mode}`);
    return await withTimeout(8000, pool.sql`select 1`.then(() => "answered", kindOfError));
  };
  assertEquals([await told("prefer"), await told("require")], ["answered", "outage"]);
  while (answers.shift() && answers.length > 0) assertEquals(await told("require"), "outage");
});
