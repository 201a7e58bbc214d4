import { assertEquals } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { keepListening } from "./listen.ts";

Deno.test("keepListening() starts another server on the same port where one has ended, and waits for what both have under way", async () => {
  const stop = new AbortController();
  const servers = [1, 2].map(() => ({
    ends: Promise.withResolvers<void>(),
    drains: Promise.withResolvers<void>(),
  }));
  const ports: number[] = [];
  const server = keepListening(
    (port) => {
      const { ends, drains } = servers[ports.push(port) - 1] ?? servers[0]!;
      const addr = { transport: "tcp", hostname: "127.0.0.1", port: 8000 } as const;
      return { addr, finished: ends.promise, shutdown: () => drains.promise };
    },
    0,
    testLog,
    stop.signal,
  );
  servers[0]?.ends.reject(new Error("Too many open files"));
  await eventually("the second server", () => ports.length === 2);
  assertEquals(ports, [0, 8000]);
  stop.abort();
  let isDown = false;
  const down = server.shutdown().then(() => isDown = true);
  servers[1]?.drains.resolve();
  await servers[1]?.drains.promise;
  assertEquals(isDown, false);
  servers[0]?.drains.resolve();
  await down;
});
