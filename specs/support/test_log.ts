/**
 * A log for tests that say themselves what they saw.
 *
 * @module
 */
import { getLogger, type Logger } from "@logtape/logtape";

/** A logger that nobody has given a sink. */
export const testLog: Logger = getLogger(["orderflow", "test"]);
