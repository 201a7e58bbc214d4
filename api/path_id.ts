/**
 * The id in a path such as `/orders/:id`.
 *
 * @module
 */
import { z } from "zod";
import { idSchema } from "../shared/events.ts";
import { parseOr400 } from "./http.ts";

/** What a path with an id has in it. */
export const idPath = z.object({ id: idSchema });

/** The id, in lower case; throws a 400 for what is none. */
export function parseId(id: string): string {
  return parseOr400(idPath, { id }, "path").id;
}
