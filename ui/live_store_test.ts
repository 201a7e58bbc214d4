import { assertEquals } from "@std/assert";
import { createLiveStore, liveStatus, serverNow, startLive, type StreamHandlers } from "./live_store.ts";
import { testPulse } from "./testdata/page.ts";

const [first, second, third] = [testPulse(0), testPulse(1000), testPulse(2000)];

/** A store whose stream, frames, timers and clock are in the test's hands. */
function handStore() {
  const streams: (StreamHandlers & { isOpen: boolean })[] = [];
  const frames: (() => void)[] = [];
  const timers: { ms: number; run: () => void; isDue: boolean }[] = [];
  let now = 0;
  const store = createLiveStore(first, {
    open: (handlers) => {
      const stream = { ...handlers, isOpen: true };
      streams.push(stream);
      return () => {
        stream.isOpen = false;
      };
    },
    parse: (data) => data === "bad" ? null : JSON.parse(data),
    onFrame: (run) => frames.push(run),
    after: (ms, run) => {
      const timer = { ms, run, isDue: true };
      timers.push(timer);
      return () => {
        timer.isDue = false;
      };
    },
    now: () => now,
  });
  return {
    store,
    streams,
    timers,
    stream: () => streams.at(-1)!,
    paint: () => frames.splice(0).forEach((run) => run()),
    pass: (ms: number) => now += ms,
  };
}

Deno.test("pulses between two frames become one change, of the last of them", () => {
  const { store, stream, paint } = handStore();
  let changes = 0;
  store.start();
  stream().onOpen();
  store.subscribe(() => changes++);
  stream().onPulse(JSON.stringify(second));
  stream().onPulse(JSON.stringify(third));
  assertEquals(store.get().pulse.at, first.at);
  paint();
  assertEquals([changes, store.get().pulse.at], [1, third.at]);
});

Deno.test("a message that is no pulse changes nothing", () => {
  const { store, stream, paint } = handStore();
  store.start();
  stream().onPulse("bad");
  paint();
  assertEquals(store.get().pulse.at, first.at);
});

Deno.test("a lost stream is opened again, each time after a longer wait up to a limit, and then says so", () => {
  const { store, streams, stream, timers, pass } = handStore();
  store.start();
  stream().onOpen();
  for (let attempt = 0; attempt < 6; attempt++) {
    stream().onLost();
    assertEquals(stream().isOpen, false);
    assertEquals(liveStatus(store.get(), 0), "offline");
    timers.at(-1)!.run();
  }
  assertEquals(timers.map(({ ms }) => ms), [500, 1000, 2000, 4000, 5000, 5000]);
  pass(20_000);
  stream().onOpen();
  assertEquals([store.get().connection, store.get().recoveredAt, streams.length], ["open", 20_000, 7]);
  stream().onLost();
  assertEquals([timers.at(-1)?.ms, store.get().recoveredAt], [500, null]);
});

Deno.test("stop() closes the stream and takes back the next attempt; start() opens one, and only one", () => {
  const { store, streams, stream, timers } = handStore();
  store.start();
  store.start();
  assertEquals(streams.length, 1);
  stream().onLost();
  store.stop();
  assertEquals(timers.map(({ isDue }) => isDue), [false]);
  store.start();
  assertEquals(streams.map(({ isOpen }) => isOpen), [false, true]);
});

Deno.test("an open stream that says nothing for too long is stale", () => {
  const state = { ...startLive(first, 0), connection: "open" as const };
  assertEquals([12_000, 12_001].map((now) => liveStatus(state, now)), ["live", "stale"]);
});

Deno.test("serverNow() goes by the server's clock, whatever the local one says", () => {
  const state = startLive(first, 5_000_000);
  assertEquals(serverNow(state, 5_003_000), Date.parse(first.at) + 3000);
  assertEquals(serverNow(state, 0), Date.parse(first.at));
});
