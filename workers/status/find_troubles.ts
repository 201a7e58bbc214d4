/**
 * What somebody should see to. All pure.
 *
 * @module
 */
import { duration } from "../../shared/command/duration.ts";
import type { LiveProcess } from "../../shared/live.ts";
import type { StatusFigures, SystemStatus } from "../../shared/status.ts";

/** An event that waits this long for the relay, in seconds, is not on its way: the relay looks every second. */
const OUTBOX_OLD_S = 30;

/**
 * What needs attention, a sentence each, with what to do; none where everything is in order. `expected` are the names of
 * the processes that there must be.
 */
export function findTroubles(status: SystemStatus, expected: readonly string[]): string[] {
  const { at, database, broker, figures } = status;
  const services = [
    ...database === "up" ? [] : ["the database cannot be reached: nothing goes on until it is back"],
    ...broker === "up" ? [] : ["the broker cannot be reached: events wait in the outbox until it is back"],
  ];
  if (!figures) {
    const late = "the database does not answer in time: there are no figures";
    return database === "up" ? [...services, late] : services;
  }
  return [
    ...services,
    ...processTroubles(figures.processes, expected, Date.parse(at)),
    ...queueTroubles(figures),
    ...outboxTroubles(figures),
    ...letterTroubles(figures),
  ];
}

function processTroubles(
  processes: readonly LiveProcess[],
  expected: readonly string[],
  nowMs: number,
): string[] {
  const silent = processes.filter(({ isStale }) => isStale).map(({ name, pid, host, seenAt }) => {
    const silence = duration((nowMs - Date.parse(seenAt)) / 1000);
    return `${name} (process ${pid} on ${host}) has been silent for ${silence}: it was killed, or is stuck`;
  });
  const missing = expected.filter((name) => !processes.some((process) => process.name === name));
  return [...silent, ...missing.map((name) => `no ${name} runs: start one with ${taskOf(name)}`)];
}

function taskOf(name: string): string {
  return name === "api" ? "deno task api" : `deno task worker:${name}`;
}

function queueTroubles({ queues }: StatusFigures): string[] {
  return (queues ?? []).filter(({ consumers }) => consumers === 0).map(({ queue, messages }) => {
    return `nobody consumes ${queue}, where ${count(messages, "message waits", "messages wait")}`;
  });
}

function outboxTroubles({ outbox: { pending, oldestSeconds } }: StatusFigures): string[] {
  if (oldestSeconds < OUTBOX_OLD_S) return [];
  const age = duration(oldestSeconds);
  return [
    `${
      count(pending, "event waits", "events wait")
    } in the outbox, the oldest for ${age}: is the relay running, ` +
    "and does the broker take it? /ops/outbox?published=false has its last error",
  ];
}

function letterTroubles({ deadLetters }: StatusFigures): string[] {
  return Object.entries(deadLetters).map(([consumer, letters]) => {
    const look = `deno task redrive --consumer=${consumer} --dry-run`;
    return `${count(letters, "dead letter", "dead letters")} of ${consumer}: look at them with ${look}`;
  });
}

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}
