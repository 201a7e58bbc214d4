import { assertEquals } from "@std/assert";
import type { LivePulse } from "../shared/ops/live.ts";
import { followStream, liveStatus, serverNow, type Source } from "./live.ts";
import { testPulse } from "./testdata/page.ts";

const [first, second] = [testPulse(0), testPulse(1000)];

/** A stream whose sources and timers are in the test's hands. */
function handStream() {
  const sources: (Source & { readyState: number; isOpen: boolean; say: (pulse: unknown) => void })[] = [];
  const waits: { ms: number; run: () => void }[] = [];
  const heard: (LivePulse | string)[] = [];
  const told = {
    onOpen: () => heard.push("open"),
    onPulse: (pulse: LivePulse) => heard.push(pulse),
    onLost: (isRefused: boolean) => heard.push(isRefused ? "refused" : "lost"),
  };
  const stream = followStream(
    told,
    () => {
      let listener = (_: MessageEvent) => {};
      const source = {
        onopen: null,
        onerror: null,
        readyState: 0,
        isOpen: true,
        addEventListener: (_: string, heard: typeof listener) => listener = heard,
        close: () => source.isOpen = false,
        say: (pulse: unknown) => listener(new MessageEvent("pulse", { data: JSON.stringify(pulse) })),
      };
      sources.push(source);
      return source;
    },
    (run, ms) => {
      waits.push({ ms, run });
      return setTimeout(() => {}, 0);
    },
  );
  const newest = () => sources.at(-1)!;
  const open = () => newest().onopen?.(new Event("open"));
  const lose = (readyState = 0) => {
    newest().readyState = readyState;
    newest().onerror?.(new Event("error"));
  };
  return { stream, sources, waits, heard, newest, open, lose };
}

Deno.test("each pulse is told; what is no pulse is none", () => {
  const { stream, newest, open, heard } = handStream();
  stream.start();
  open();
  newest().say("bad");
  newest().say(second);
  assertEquals(heard, ["open", second]);
});

Deno.test("a lost stream connects again by itself; one that was refused is opened anew after a while", () => {
  const { stream, sources, newest, open, lose, waits, heard } = handStream();
  stream.start();
  lose();
  open();
  assertEquals([heard, sources.length, waits.length], [["lost", "open"], 1, 0]);
  lose(2); // refused
  stream.start(); // the next attempt waits
  assertEquals([heard.at(-1), sources.length, waits.at(-1)?.ms], ["refused", 1, 5000]);
  waits.at(-1)?.run();
  newest().say(second);
  assertEquals([heard.at(-1), sources.map(({ isOpen }) => isOpen)], [second, [false, true]]);
  stream.stop();
});

Deno.test("stop() closes the stream; start() opens one, and only one", () => {
  const { stream, sources, newest, open, heard } = handStream();
  stream.start();
  stream.start();
  assertEquals(sources.length, 1);
  stream.stop();
  stream.start();
  assertEquals(sources.map(({ isOpen }) => isOpen), [false, true]);
  open();
  stream.stop();
  newest().say(second); // on its way when it was closed
  assertEquals(heard, ["open"]);
});

Deno.test("an open stream that says nothing for too long is stale; the time is the server's", () => {
  const state = { connection: "open", pulse: first, receivedAt: 0, recoveredAt: null } as const;
  assertEquals([12_000, 12_001].map((now) => liveStatus(state, now)), ["live", "stale"]);
  const late = { ...state, receivedAt: 5_000_000 };
  assertEquals(serverNow(late, 5_003_000), Date.parse(first.at) + 3000);
  assertEquals(serverNow(late, 0), Date.parse(first.at));
});
