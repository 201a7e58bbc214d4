/**
 * How a task of the command line ends: one convention for all of them. A wrong configuration is `EXIT_CONFIG` in
 * `shared/process.ts`, for tasks and processes alike.
 *
 * @module
 */

/** It was done, and there is nothing to see to. */
export const EXIT_DONE = 0;

/** It could not be done, or was cancelled: the API or a service is away, or refuses. Standard error says why. */
export const EXIT_NOT_DONE = 1;

/** It was done, and has found what somebody should see to. */
export const EXIT_FOUND = 2;

/** It was called wrongly, and nothing was done (EX_USAGE of sysexits.h). */
export const EXIT_USAGE = 64;
