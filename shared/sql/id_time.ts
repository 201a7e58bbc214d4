/**
 * Version 7 uuids as times.
 *
 * @module
 */

/** The lowest version 7 uuid of an instant: the ids of earlier ones are below it (RFC 9562, section 5.7). */
export function firstIdOf(instant: Date): string {
  const hex = Math.max(instant.getTime(), 0).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}

/** When the version 7 uuid `id` was made, by the clock of who made it. */
export function timeOfId(id: string): Date {
  return new Date(Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
}
