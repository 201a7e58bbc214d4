/**
 * Which OrderFlow this is.
 *
 * @module
 */
import config from "../deno.json" with { type: "json" };

/** The version in `deno.json`. It comes with the code, so no process needs a file or a variable for it. */
export const VERSION: string = config.version;
