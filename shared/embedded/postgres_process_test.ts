import { assertEquals } from "@std/assert";
import { parsePostmasterPid, runScript, startFailure } from "./postgres_process.ts";

Deno.test("runScript() passes input and no environment, answers with output and code, and ends what takes too long", async () => {
  const script = 'cat; echo "home:$HOME" >&2; exit 3';
  const result = await runScript(undefined, script, [], { stdin: "in " });
  assertEquals(result, { code: 3, output: "in home:\n" });
  assertEquals((await runScript(undefined, "exit", [], { stdin: "x".repeat(1_000_000) })).code, 0);
  assertEquals((await runScript(undefined, "exec sleep 60", [], { timeoutMs: 50 })).code, 143); // 128 + SIGTERM
});

Deno.test("parsePostmasterPid() reads process id and state, and takes a file that is still being written", () => {
  const text = "8128\n/data\n1795364567\n38295\n\n127.0.0.1\n  1234   0\nready   \n";
  assertEquals(parsePostmasterPid(text), { pid: 8128, state: "ready" });
  assertEquals(parsePostmasterPid("8128\n/data\n"), { pid: 8128, state: undefined });
  assertEquals(parsePostmasterPid("junk\n"), { pid: undefined, state: undefined });
});

Deno.test("startFailure() tells failures that pass by themselves from those that do not", () => {
  const bind = 'LOG:  could not bind IPv4 address "127.0.0.1": ';
  assertEquals(startFailure(`${bind}Address already in use\nFATAL:  could not create`), "port taken");
  assertEquals(startFailure(`${bind}Permission denied`), "other");
  assertEquals(startFailure('FATAL:  lock file "postmaster.pid" already exists'), "still stopping");
  const shared = "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use";
  assertEquals(startFailure(shared), "still stopping");
});
