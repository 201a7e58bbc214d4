/**
 * `GET /ops/live`: how everything stands, as server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 *
 * @module
 */
import { Hono } from "hono";
import { livePulseSchema } from "../../shared/ops/live.ts";
import type { App, CorrelationEnv } from "../correlation.ts";
import { answer, describeRoutes, mediaType, problems } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { HttpProblem } from "../http.ts";
import type { LiveClient, LiveFeed } from "./live_feed.ts";

export interface LiveDeps {
  /** Tells how everything stands; whoever made it closes it before the server, which waits for open streams. */
  readonly live: LiveFeed;
}

/** What a browser waits before it connects again, in milliseconds. */
const RECONNECT_MS = 1000;

/** The stream: events named `pulse`, each a `LivePulse` as JSON. 503 when too many watch. */
export function liveRoutes({ live }: LiveDeps): App {
  const app = new Hono<CorrelationEnv>();
  app.get("/", (c) => {
    const client = live.join();
    if (!client) {
      throw new HttpProblem(503, "Too many pages are open. Close one, and try again.", {
        headers: { "retry-after": "5" },
      });
    }
    return c.body(eventStream(client), 200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no", // a proxy in between is to pass each event on at once
    });
  });
  return describeRoutes(app, { "GET /": describeLive });
}

function describeLive(): Description {
  const pulse = livePulseSchema.meta({ ref: "LivePulse" });
  return {
    operationId: "watch",
    tags: ["Inspection"],
    summary: "How everything stands, as it changes",
    description:
      "Server-sent events named `pulse`; the schema is that of each one's data. The stream stays open.",
    responses: {
      200: answer("The stream.", mediaType("text/event-stream", pulse)),
      ...problems({ 503: "Too many watch." }),
    },
  };
}

/** One event per pulse. The next one is asked for only when the last has been taken, so nothing piles up. */
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
