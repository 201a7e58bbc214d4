/**
 * Events that have been published, put straight into the outbox.
 *
 * @module
 */
import { appendEvents } from "./test_events.ts";
import { v7 as uuidv7 } from "uuid";
import { type EventData, type EventType, makeEvent } from "../../shared/events.ts";
import type { Sql } from "../../shared/sql/connect.ts";

/** What an event is to be like, where it matters. */
export interface PublishedEventOptions {
  /** When it happened; now unless told. */
  readonly at?: Date;
  /** Its correlation id. */
  readonly correlationId?: string;
  /** Whether it has been published; it has, unless told. */
  readonly published?: boolean;
}

/** Puts an event into the outbox, with the id that one of its time has. Answers with the id. */
export async function insertPublished(
  sql: Sql,
  type: EventType,
  data: EventData<EventType>,
  options: PublishedEventOptions = {},
): Promise<string> {
  const { at = new Date(), correlationId = "test-correlation", published = true } = options;
  const made = makeEvent(type, data, { correlationId, traceparent: null }, at);
  // New ids are in order even within a millisecond; those of a given time are not.
  const eventId = options.at ? uuidv7({ msecs: at.getTime() }) : made.event.eventId;
  await appendEvents(sql, [{ ...made, event: { ...made.event, eventId } }]);
  if (published) await sql`update outbox_events set published_at = ${at} where id = ${eventId}`;
  return eventId;
}
