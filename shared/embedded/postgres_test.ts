import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import postgres from "postgres";
import { removePostgres, withDiskAdvice } from "./postgres.ts";
import {
  eventually,
  isAlive,
  postmasterPid,
  query,
  serverPid,
  start,
  temporaryFolder,
} from "./testdata/postgres_runs.ts";

Deno.test("startPostgres() serves an empty database in UTF-8, on loopback, to who has the password", async () => {
  await using folder = await temporaryFolder();
  await using server = await start({ ...folder, durable: true });
  assertMatch(server.url, /^postgres:\/\/orderflow:[0-9a-f]{48}@127\.0\.0\.1:\d+\/orderflow$/);
  const row = await query(
    server.url,
    `select current_setting('server_version') as version, pg_encoding_to_char(encoding) as encoding,
            datlocale as locale, current_setting('listen_addresses') as addresses,
            current_setting('unix_socket_directories') as sockets, current_setting('fsync') as fsync
       from pg_database where datname = current_database()`,
  );
  assertMatch(row.version ?? "", /^18\./);
  assertEquals({ ...row, version: "" }, {
    version: "",
    encoding: "UTF8",
    locale: "C.UTF-8",
    addresses: "127.0.0.1",
    sockets: "",
    fsync: "on",
  });
  await assertRejects(
    () => query(server.url.replace(/:[0-9a-f]{48}@/, ":wrong@"), "select 1"),
    Error,
    "password authentication failed",
  );
  assertEquals((await Deno.stat(join(folder.dataDir, "password"))).mode! & 0o777, 0o600);
});

Deno.test("startPostgres() keeps data and port between runs, and reports what takes long only then", async () => {
  await using folder = await temporaryFolder();
  const messages: string[] = [];
  const options = { ...folder, onProgress: (message: string) => messages.push(message) };
  const first = await start(options);
  await query(first.url, "create table kept as select 'still here' as value");
  await first.stop();
  assertEquals(messages.at(-1), "initialising a Postgres database");
  messages.length = 0;
  await using second = await start(options);
  assertEquals(second.url, first.url);
  assertEquals(await query(second.url, "select value from kept"), { value: "still here" });
  assertEquals(messages, []);
});

Deno.test("startPostgres() serves folders side by side, and applies the caller's settings over its own", async () => {
  await using first = await temporaryFolder();
  await using second = await temporaryFolder();
  await using one = await start({ ...first, settings: { max_connections: "17" } });
  await using two = await start(second);
  assertEquals(await query(one.url, "show max_connections"), { max_connections: "17" });
  assertEquals(await query(two.url, "show max_connections"), { max_connections: "200" });
  assertEquals(await query(two.url, "show fsync"), { fsync: "off" });
});

Deno.test("startPostgres() shows the server's log when it does not start", async () => {
  await using folder = await temporaryFolder();
  const error = await assertRejects(
    () => start({ ...folder, settings: { shared_buffers: "nonsense" } }),
    Error,
    'invalid value for parameter "shared_buffers": "nonsense"',
  );
  assertStringIncludes(error.message, "deno task reset");
  await using _server = await start(folder); // and the failure left nothing locked
});

Deno.test("withDiskAdvice() says that the disk is full where that is what failed, and leaves other errors alone", async () => {
  const error = new Error("initdb failed: could not write: No space left on device");
  const advised = await withDiskAdvice(error, "/nowhere/data");
  assert(advised instanceof Error);
  assertMatch(
    advised.message,
    /^the disk that holds \/nowhere\/data is full .*: free some space.*No space left/,
  );
  const other = new Error("something else");
  assertEquals(await withDiskAdvice(other, "/tmp"), other);
});

Deno.test("startPostgres() says what is wrong when the password is lost", async () => {
  await using folder = await temporaryFolder();
  await (await start(folder)).stop();
  await Deno.remove(join(folder.dataDir, "password"));
  await assertRejects(() => start(folder), Error, 'if its file "password" was changed');
});

Deno.test("startPostgres() takes another port if the last one is taken, but not if it was asked for", async () => {
  await using folder = await temporaryFolder();
  const first = await start(folder);
  await first.stop();
  const port = Number(new URL(first.url).port);
  using _taken = Deno.listen({ hostname: "127.0.0.1", port });
  await using second = await start(folder);
  assert(new URL(second.url).port !== `${port}`);
  await second.stop();
  await assertRejects(() => start({ ...folder, port }), Error, `cannot start Postgres on port ${port}`);
});

Deno.test("startPostgres() refuses a folder that is in use, and leaves its server alone", async () => {
  await using folder = await temporaryFolder();
  await using server = await start(folder);
  await assertRejects(() => start(folder), Error, `process ${Deno.pid} runs the embedded Postgres`);
  assertEquals(await query(server.url, "select 'well' as state"), { state: "well" });
});

Deno.test("stop() ends the server, connected clients or not, and may be called again", async () => {
  await using folder = await temporaryFolder();
  const server = await start(folder);
  const pid = await serverPid(folder.dataDir);
  const sql = postgres(server.url, { max: 1, onnotice: () => {} });
  const sleeping = assertRejects(() => sql`select pg_sleep(60)`.execute());
  await sql.end({ timeout: 0 }).then(() => sleeping);
  await Promise.all([server.stop(), server.stop()]);
  await server.stop();
  assert(!isAlive(pid));
  await assertRejects(() => Deno.stat(postmasterPid(folder.dataDir)), Deno.errors.NotFound);
});

Deno.test("removePostgres() stops a running server and deletes the folder; nothing there is fine", async () => {
  await using folder = await temporaryFolder();
  await using _server = await start(folder);
  const pid = await serverPid(folder.dataDir);
  await removePostgres(folder.dataDir);
  await eventually(() => !isAlive(pid), "the server ends");
  await assertRejects(() => Deno.stat(folder.dataDir), Deno.errors.NotFound);
  await removePostgres(folder.dataDir);
});
