// A clock that is not the machine's. Preloaded into a process (`deno run --preload=test_clock.ts?hours=-3`) it is the
// process's own, off by so many hours.

/** The clock of this process, for as long as it lives: `aheadMs` ahead of the real one. */
export function testClock() {
  const RealDate = Date;
  const realMs = () => RealDate.now();
  const clock = { aheadMs: 0, realMs, [Symbol.dispose]: () => void (globalThis.Date = RealDate) };
  const now = () => realMs() + clock.aheadMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, as) => Reflect.construct(target, args.length > 0 ? args : [now()], as),
    get: (target, key) => key === "now" ? now : Reflect.get(target, key),
  });
  return clock;
}

/** The flag of `deno run` with which a process has such a clock. */
export const clockFlag = (hours: number) => `--preload=${new URL(`?hours=${hours}`, import.meta.url)}`;

const { searchParams } = new URL(import.meta.url);
if (searchParams.has("hours")) testClock().aheadMs = Number(searchParams.get("hours")) * 3_600_000;
