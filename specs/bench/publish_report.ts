/**
 * What the bare publisher reports.
 *
 * @module
 */
import { z } from "zod";

/** What publishing came to. */
export interface PublishReport {
  /** Messages that were confirmed. */
  readonly messages: number;
  /** From the first message to the last confirm, in seconds. */
  readonly seconds: number;
  /** Messages confirmed per second. */
  readonly perSecond: number;
  /** The share of one core that the publisher used meanwhile. */
  readonly cpuShare: number;
}

/** The report as JSON. */
export const publishReportSchema: z.ZodType<PublishReport> = z.object({
  messages: z.number().int(),
  seconds: z.number(),
  perSecond: z.number(),
  cpuShare: z.number(),
});
