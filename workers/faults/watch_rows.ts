/**
 * Rows of the database that a process keeps in memory: asking them costs nothing.
 *
 * @module
 */
import { messageOf, retryWhileUnavailable } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";

/** What is kept, and how it is come by. */
interface Source<T> {
  /** For the log. */
  readonly name: string;
  /** What is known while nothing has been read. */
  readonly none: T;
  readonly read: () => Promise<T>;
  /** Calls `onChange` at each change, and whenever its connection has been made. */
  readonly listen: (onChange: () => void) => Promise<void>;
  /** Whether rows change by the clock of the database as well, of which it does not tell. */
  readonly isPassing?: (rows: T) => boolean;
  /** Called with each reading. */
  readonly onRead?: (rows: T, before: T) => void;
}

/** How long until the next look at what passes, or could not be read, in milliseconds. */
const LOOK_AGAIN_MS = 1000;

/**
 * Keeps what `read` finds: read before this resolves, when `listen` tells of a change, when its connection has been made
 * again, and every second while it passes or cannot be read. Waits until the database can be reached. Ends with `stop`.
 */
export async function watchRows<T>(
  { name, none, read, listen, isPassing = () => false, onRead = () => {} }: Source<T>,
  { log, stop }: { readonly log: Logger; readonly stop: AbortSignal },
) {
  let rows = none;
  let [isKnown, asked, failed] = [false, false, false];
  let reading: Promise<void> | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let next = Promise.withResolvers<void>();

  async function readAll(): Promise<void> {
    clearTimeout(timer);
    while (asked) {
      asked = false;
      try {
        const before = rows;
        rows = await read();
        onRead(rows, before);
        [isKnown, failed] = [true, false];
      } catch (error) {
        if (!failed && !stop.aborted) {
          log.warning(`The ${name} cannot be read`, { error: messageOf(error) });
        }
        failed = true;
      }
    }
    reading = null;
    if ((failed || isPassing(rows)) && !stop.aborted) timer = setTimeout(look, LOOK_AGAIN_MS);
    tell();
  }

  function look(): void {
    if (stop.aborted) return;
    asked = true;
    reading ??= readAll();
  }

  function tell(): void {
    next.resolve();
    next = Promise.withResolvers();
  }

  /** Resolves with the next reading, or `stop`; not at once after that, since whoever asks in a loop has yet to be stopped. */
  const changes = () => stop.aborted ? new Promise<void>((resolve) => setTimeout(resolve)) : next.promise;

  stop.addEventListener("abort", () => {
    clearTimeout(timer);
    tell();
  }, { once: true });
  await retryWhileUnavailable(() => listen(look), { log, stop });
  while (!isKnown && !stop.aborted) await changes(); // nothing begins before it is known
  return {
    /** As last read. */
    now: () => rows,
    /** As last read; where a change is known of, only once that is read. */
    async current(): Promise<T> {
      await reading;
      return rows;
    },
    changes,
  };
}
