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

Deno.test("startPostgres() serves an empty database, on loopback, to who has the password, and one process a folder", async () => {
  await using folder = await temporaryFolder();
  await using server = await start({ ...folder, durable: true });
  assertMatch(server.url, /^postgres:\/\/orderflow:[0-9a-f]{48}@127\.0\.0\.1:\d+\/orderflow$/);
  const { version, ...row } = await query(
    server.url,
    `select current_setting('server_version') as version, pg_encoding_to_char(encoding) as encoding,
            datlocale as locale, current_setting('listen_addresses') as addresses,
            current_setting('unix_socket_directories') as sockets, current_setting('fsync') as fsync
       from pg_database where datname = current_database()`,
  );
  assertMatch(version ?? "", /^18\./);
  const expected = { encoding: "UTF8", locale: "C.UTF-8", addresses: "127.0.0.1", sockets: "", fsync: "on" };
  assertEquals(row, expected);
  const wrong = server.url.replace(/:[0-9a-f]{48}@/, ":wrong@");
  await assertRejects(() => query(wrong, "select 1"), Error, "password authentication failed");
  assertEquals((await Deno.stat(join(folder.dataDir, "password"))).mode! & 0o777, 0o600);
  await assertRejects(() => start(folder), Error, `process ${Deno.pid} runs the embedded Postgres`);

  await using beside = await temporaryFolder(); // and in another folder, another server
  await using other = await start({ ...beside, settings: { max_connections: "17" } });
  assertEquals(await query(other.url, "show max_connections"), { max_connections: "17" });
  assertEquals(await query(server.url, "show max_connections"), { max_connections: "200" });
});

Deno.test("startPostgres() keeps data and port between runs, and says what keeps a server from starting", async () => {
  await using folder = await temporaryFolder();
  const nonsense = { ...folder, settings: { shared_buffers: "nonsense" } };
  const { message } = await assertRejects(() => start(nonsense), Error);
  assertStringIncludes(message, 'invalid value for parameter "shared_buffers": "nonsense"'); // the server's log
  assertStringIncludes(message, "deno task reset");

  const first = await start(folder);
  await query(first.url, "create table kept as select 'still here' as value");
  await first.stop();
  const messages: string[] = [];
  const second = await start({ ...folder, onProgress: (message) => messages.push(message) });
  assertEquals(second.url, first.url);
  assertEquals(await query(second.url, "select value from kept"), { value: "still here" });
  assertEquals(messages, []); // only what takes long is told of
  await second.stop();

  const port = Number(new URL(first.url).port);
  using _taken = Deno.listen({ hostname: "127.0.0.1", port });
  await assertRejects(() => start({ ...folder, port }), Error, `cannot start Postgres on port ${port}`);
  const third = await start(folder);
  assert(new URL(third.url).port !== `${port}`);
  await third.stop();

  await Deno.remove(join(folder.dataDir, "password"));
  await assertRejects(() => start(folder), Error, 'if its file "password" was changed');
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
