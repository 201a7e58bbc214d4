// A log for tests that say themselves what they saw.

import { getLogger } from "@logtape/logtape";
import type { Logger } from "../../shared/process/log.ts";

/** A logger that nobody has given a sink. */
export const testLog: Logger = getLogger(["orderflow", "test"]);
