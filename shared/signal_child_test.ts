import { assertEquals, assertThrows } from "@std/assert";
import { signalChild } from "./signal_child.ts";

Deno.test("signalChild() signals a child that runs, and lets one be that has ended", async () => {
  const child = new Deno.Command("/bin/sh", { args: ["-c", "exec sleep 60"] }).spawn();
  signalChild(child, "SIGTERM");
  assertEquals((await child.status).signal, "SIGTERM");
  signalChild(child, "SIGTERM");
});

Deno.test("signalChild() passes on what stands in the way of a signal", () => {
  const kill = () => {
    throw new Deno.errors.NotCapable("Requires run access");
  };
  assertThrows(() => signalChild({ kill }, "SIGTERM"), Deno.errors.NotCapable);
});
