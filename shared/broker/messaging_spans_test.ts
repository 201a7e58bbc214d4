import { assertEquals } from "@std/assert";
import { brokerAttributes, destinationOf, messageAttributes } from "./messaging_spans.ts";
import type { NextStep, Verdict } from "./next_step.ts";
import { createProcessSpans, outcomeOf } from "./process_spans.ts";
import type { Publisher } from "./publish.ts";
import { withSendSpans } from "./send_spans.ts";

const URL = "amqp://guest:guest@localhost";

Deno.test("without a tracer there are no spans, and nothing stands between a publisher and its caller", () => {
  const publisher: Publisher = { publish: () => Promise.reject(new Error("not asked")) };
  assertEquals(withSendSpans(publisher, null, URL) === publisher, true);
  assertEquals(createProcessSpans(null, URL, "q"), null);
});

Deno.test("destinationOf() names exchange, key and queue, without what is empty or said twice", () => {
  const names = [
    { exchange: "e", key: "k" },
    { exchange: "e", key: "k", queue: "q" },
    { exchange: "", key: "q", queue: "q" },
    { exchange: "e", key: "q", queue: "q" },
    { exchange: "", key: "q" },
    { exchange: "e", key: "" },
    { exchange: "", key: "" },
  ].map(destinationOf);
  assertEquals(names, ["e:k", "e:k:q", "q", "e:q", "q", "e", "amq.default"]);
});

Deno.test("brokerAttributes() tell host and port, never the password", () => {
  const ports = [URL, "amqps://mq.example", "amqp://mq.example:5673/vhost", `${URL},${URL}`].map((url) => {
    const { "server.address": host, "server.port": port } = brokerAttributes(url);
    return `${host} ${port}`;
  });
  assertEquals(ports, ["localhost 5672", "mq.example 5671", "mq.example 5673", "undefined undefined"]);
});

Deno.test("messageAttributes() leave out what a message has not", () => {
  const bare = { exchange: "", key: "", id: null, correlationId: null };
  assertEquals(messageAttributes("send", bare), {
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": "amq.default",
  });
});

Deno.test("outcomeOf() has a word for every way in which a message is settled", () => {
  const retry = { kind: "retry", delayMs: 1, retries: 1, error: "" } as const;
  const letter = { kind: "dead-letter", reason: "too early", detail: "" } as const;
  const cases: [Verdict, Exclude<NextStep, { kind: "look-again" }>, string][] = [
    [{ kind: "done" }, { kind: "ack" }, "done"],
    [{ kind: "duplicate" }, { kind: "ack" }, "duplicate"],
    [{ kind: "failed", error: "" }, retry, "retry"],
    [{ kind: "early", awaits: "PAID" }, retry, "early"],
    [{ kind: "early", awaits: "PAID" }, letter, "dead-letter"],
    [{ kind: "failed", error: "" }, letter, "dead-letter"],
    [{ kind: "rejected", reason: "not JSON", detail: "" }, letter, "dead-letter"],
  ];
  for (const [verdict, step, word] of cases) assertEquals(outcomeOf(verdict, step), word);
});
