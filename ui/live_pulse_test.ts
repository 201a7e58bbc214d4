import { assertEquals } from "@std/assert";
import { livePulseSchema } from "../shared/ops/live.ts";
import { parsePulse } from "./live_pulse.ts";
import { testPulse } from "./testdata/test_pulse.ts";

const order = {
  id: "019a",
  userId: "u",
  courseId: "c",
  amount: "49.90",
  status: "PENDING",
  correlationId: "k",
  createdAt: "2026-11-22T12:00:00.000Z",
  updatedAt: "2026-11-22T12:00:00.000Z",
} as const;

Deno.test("parsePulse() reads all of what the server's schema lets through, and drops nothing", () => {
  const pulses = [
    testPulse(0),
    testPulse(1, { orders: [order], queues: null, latency: { p50: 1.5, p99: 20 }, retries: { a: 2 } }),
  ];
  for (const pulse of pulses) {
    assertEquals(livePulseSchema.parse(pulse), pulse);
    assertEquals(parsePulse(JSON.stringify(pulse)), pulse);
  }
});

Deno.test("parsePulse() refuses a pulse without any one of its parts, as the server's schema does", () => {
  const whole = testPulse(0, { orders: [order], deadLetters: { a: 1 } });
  const holes = pathsOf(whole);
  assertEquals(holes.length > 40, true);
  for (const path of holes) {
    const broken = without(whole, path);
    assertEquals(livePulseSchema.safeParse(broken).success, false, path.join("."));
    assertEquals(parsePulse(JSON.stringify(broken)), null, path.join("."));
  }
});

Deno.test("parsePulse() answers null for what is no pulse at all", () => {
  for (
    const data of [
      "",
      "null",
      "[]",
      '{"at":',
      JSON.stringify(testPulse(0, { rates: { orders: -1, events: 0, processed: 0 } })),
    ]
  ) {
    assertEquals(parsePulse(data), null, data);
  }
});

/** The paths of all fields, save those of records, which may be missing. */
function pathsOf(value: unknown, path: string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) => {
    const here = [...path, key];
    const isRecord = ["deadLetters", "retries", "counts"].includes(key);
    return [...(Array.isArray(value) ? [] : [here]), ...(isRecord ? [] : pathsOf(child, here))];
  });
}

function without(value: unknown, [key = "", ...rest]: string[]): unknown {
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value)
    ? [...value]
    : { ...(value as object) };
  const slots = copy as Record<string, unknown>;
  if (rest.length > 0) slots[key] = without(slots[key], rest);
  else delete slots[key];
  return copy;
}
