/**
 * What every event has in common.
 *
 * @module
 */
import { z } from "zod";
import type { Schema } from "../schema.ts";

/** The one version of the envelope that there is. A consumer never retries an unknown one. */
export const EVENT_VERSION = 1;

/** An id as the wire has it: any 8-4-4-4-12 hex string, in lower case from here on. */
export const idSchema: Schema<string> = z
  .guid({ error: 'must be a uuid such as "00000000-0000-0000-0000-000000000001"' })
  .toLowerCase();

/** A correlation id: 1 to 128 visible ASCII characters, so that it can stand in a header and on a log line. */
export const correlationIdSchema: Schema<string> = z.string().regex(/^[\x21-\x7e]{1,128}$/, {
  error: "must be 1 to 128 visible ASCII characters",
});

/**
 * The envelope around the data of an event; each type of event has its own data.
 *
 * @internal
 */
export const envelopeSchema = z.object({
  eventId: idSchema,
  type: z.string().min(1).max(100),
  version: z.literal(EVENT_VERSION),
  occurredAt: z.iso.datetime({ offset: true }),
  correlationId: correlationIdSchema,
});
