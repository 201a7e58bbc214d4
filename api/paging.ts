/**
 * Pages of a list: how many rows, and behind which.
 *
 * @module
 */
import { z } from "zod";
import { idSchema } from "../shared/events.ts";

/**
 * The query of a paged list, to be spread into a schema: `limit` (1 to 100, by default 20), and `cursor`, which is the
 * `nextCursor` of the page before.
 */
export const pageQuery = {
  limit: z.coerce.number({ error: "must be a whole number from 1 to 100" }).int().min(1).max(100).default(20)
    .meta({ description: "The most rows to answer with.", example: 10 }),
  cursor: idSchema.optional().meta({ description: "The `nextCursor` of the page before." }),
};

/** The query of a list that has no filters. */
export const pageSchema = z.object(pageQuery);

/** The cursor of the next page: the last row's id, or null where this page was not full. */
export function nextCursor(rows: readonly { readonly id: string }[], limit: number): string | null {
  return rows.length === limit ? rows.at(-1)?.id ?? null : null;
}

/** The name of a consumer, as queries have it. */
export const consumerSchema = z.string().regex(/^[\w.:-]{1,200}$/, {
  error: "must be the name of a consumer",
});
