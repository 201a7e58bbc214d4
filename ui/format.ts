// Figures, times and ids in words. Pure, and the same on the server and in every browser: no time zone, no locale.

import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { formatCount } from "../shared/words.ts";

const money = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2 });
const fine = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

/** How long ago `at`, an ISO time, was at `now`, in epoch milliseconds: `just now`, `12 s ago`, `3 min ago`. */
export function formatAge(at: string, now: number): string {
  const seconds = Math.floor((now - Date.parse(at)) / 1000);
  if (!(seconds >= 1)) return "just now"; // also where the clocks differ, and it lies ahead
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** The time of day of an ISO time in UTC, as the API writes them all: `12:03:04`. */
export function formatTime(at: string): string {
  return at.slice(11, 19);
}

/** The same with its milliseconds: `12:03:04.567`. */
export function formatMillis(at: string): string {
  return at.slice(11, 23);
}

/** A decimal string of two places with its thousands set apart: `1,234.50`. */
export function formatMoney(amount: string): string {
  return money.format(Number(amount));
}

/** An id cut to its two ends: the first tells when it was made, the last tells it from its neighbours. */
export function shortId(id: string): string {
  return id.length > 16 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id;
}

/** What is said of the courses that the fake provider and the seat decision know. */
const COURSES: ReadonlyMap<string, string> = new Map([
  [RESERVED_COURSES.success, "Course with a seat"],
  [RESERVED_COURSES.paymentFailure, "Course, card declined"],
  [RESERVED_COURSES.enrollmentFailure, "Course without a seat"],
]);

/** What to call a course: a reserved one by what happens with it, any other by its id. */
export function courseName(courseId: string): string {
  return COURSES.get(courseId) ?? `Course ${shortId(courseId)}`;
}

/** A rate per second without its unit: `0`, `3.4`, `312`. */
export function formatRate(perSecond: number): string {
  if (perSecond < 0.05) return "0";
  return perSecond < 9.95 ? fine.format(perSecond) : formatCount(perSecond);
}
