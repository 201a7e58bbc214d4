import { assertEquals } from "@std/assert";
import { launchers, parseStat } from "./launchers.ts";

Deno.test("launchers() is `deno task`, and what npm put above it; never a login shell", () => {
  const task = { pid: 30, name: "deno" };
  const shell = { pid: 20, name: "sh" };
  assertEquals(launchers([task, { pid: 2, name: "bash" }, { pid: 1, name: "init" }]), [30]);
  assertEquals(launchers([task, shell, { pid: 10, name: "npm exec deno@2" }]), [30, 20, 10]);
  assertEquals(launchers([task, { pid: 10, name: "npm run dev" }, { pid: 2, name: "bash" }]), [30, 10]);
  assertEquals(launchers([]), []);
});

Deno.test("parseStat() finds name and parent, whatever the name holds", () => {
  assertEquals(parseStat("42 (npm exec (a) b) S 7 42 42 0 -1"), { name: "npm exec (a) b", parent: 7 });
  assertEquals(parseStat(""), null);
});
