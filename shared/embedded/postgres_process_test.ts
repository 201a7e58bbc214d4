import { assertEquals } from "@std/assert";
import { parsePostmasterPid, startFailure } from "./postgres_process.ts";

Deno.test("parsePostmasterPid() reads process id and state, and takes a file that is still being written", () => {
  const text = "8128\n/data\n1795364567\n38295\n\n127.0.0.1\n  1234   0\nready   \n";
  assertEquals(parsePostmasterPid(text), { pid: 8128, state: "ready" });
  assertEquals(parsePostmasterPid("8128\n/data\n"), { pid: 8128, state: undefined });
  assertEquals(parsePostmasterPid(""), { pid: undefined, state: undefined });
  assertEquals(parsePostmasterPid("junk\n"), { pid: undefined, state: undefined });
});

Deno.test("startFailure() tells failures that pass by themselves from those that do not", () => {
  const taken =
    'LOG:  could not bind IPv4 address "127.0.0.1": Address already in use\nFATAL:  could not create';
  assertEquals(startFailure(taken), "port taken");
  assertEquals(startFailure('FATAL:  lock file "postmaster.pid" already exists'), "still stopping");
  assertEquals(
    startFailure("FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use"),
    "still stopping",
  );
  assertEquals(startFailure('could not bind IPv4 address "127.0.0.1": Permission denied'), "other");
  assertEquals(startFailure(""), "other");
});
