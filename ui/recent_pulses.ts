/**
 * The pulses of the last seconds.
 *
 * @module
 */
import { useRef } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";

/** Pulses kept at most, whatever the window: about four come in a second. */
const MAX_PULSES = 64;
/** After a silence of this many milliseconds what was before says nothing about growth. */
const SILENCE_MS = 15_000;

/** The pulses with one more, without those that have left the window. The same pulse twice counts once. */
export function withPulse(
  recent: readonly LivePulse[],
  pulse: LivePulse,
  windowMs: number,
): readonly LivePulse[] {
  const last = recent.at(-1);
  if (last?.at === pulse.at) return recent;
  const now = Date.parse(pulse.at);
  const sinceLast = last ? now - Date.parse(last.at) : 0;
  if (sinceLast < 0 || sinceLast > SILENCE_MS) return [pulse];
  return [...recent.filter(({ at }) => Date.parse(at) >= now - windowMs), pulse].slice(-MAX_PULSES);
}

/** The pulses of the last `windowMs` milliseconds, oldest first, with the current one at the end. */
export function useRecentPulses(pulse: LivePulse | null, windowMs: number): readonly LivePulse[] {
  const recent = useRef<readonly LivePulse[]>([]);
  if (pulse) recent.current = withPulse(recent.current, pulse, windowMs);
  return recent.current;
}
