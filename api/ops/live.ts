/**
 * `GET /ops/live`: how everything stands, as server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 *
 * @module
 */
import { livePulseSchema } from "../../shared/ops/live.ts";
import type { AppDeps } from "../deps.ts";
import { type App, unavailable } from "../http.ts";
import { route, routes, text } from "../openapi/route.ts";
import type { LiveClient } from "./live_feed.ts";

/** What a browser waits before it connects again, in milliseconds. */
const RECONNECT_MS = 1000;

/** The stream: events named `pulse`, each a `LivePulse` as JSON. 503 when too many watch. */
export function liveRoutes({ live }: Pick<AppDeps, "live">): App {
  const schema = livePulseSchema.meta({ ref: "LivePulse" });
  return routes(
    "Inspection",
    route("GET /", "watch", "How everything stands, as it changes", {
      description:
        "Server-sent events named `pulse`; the schema is that of each one's data. The stream stays open.",
      answers: [{ ...text(200, "The stream."), content: { "text/event-stream": schema } }],
      refusals: { 503: "Too many watch." },
      handle: ({ c }) => {
        const headers = {
          "content-type": "text/event-stream; charset=utf-8",
          "cache-control": "no-store",
          "x-accel-buffering": "no", // a proxy in between is to pass each event on at once
        };
        if (c.req.method === "HEAD") return c.body(null, 200, headers); // nobody would read, and its place be taken
        const client = live.join();
        if (!client) throw unavailable("Too many pages are open. Close one, and try again.", 5);
        return c.body(eventStream(client), 200, headers);
      },
    }),
  );
}

/**
 * One event per pulse. The next one is asked for only when the last has been taken, so nothing piles up; and whoever reads
 * nothing has its connection ended, which Hono's `streamSSE` can do only for a client that still reads.
 */
function eventStream(client: LiveClient): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let left = false;
  return new ReadableStream({
    start(controller) {
      controller.enqueue(encoder.encode(`retry: ${RECONNECT_MS}\n\n`));
      client.dropped.addEventListener("abort", () => {
        left = true;
        controller.error(new Error("The client reads no more"));
      });
    },
    async pull(controller) {
      const pulse = await client.next();
      if (left) return;
      if (pulse === null) controller.close();
      else controller.enqueue(encoder.encode(`event: pulse\ndata: ${pulse}\n\n`));
    },
    cancel() {
      left = true;
      client.leave();
    },
  }, { highWaterMark: 0 });
}
