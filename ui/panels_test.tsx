import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { renderToString } from "preact-render-to-string";
import type { JSX } from "preact";
import { createApiClient } from "./api_client.ts";
import { AuditBadge, violations } from "./audit_badge.tsx";
import { DeadLettersTable } from "./dead_letters_table.tsx";
import { FaultsPanel } from "./faults_panel.tsx";
import { InboxTable } from "./inbox_table.tsx";
import { countOpenLetters, redrivenWords } from "./letter_dialog.tsx";
import { LiveCharts } from "./live_charts.tsx";
import { MachineDiagram } from "./machine_diagram.tsx";
import { OutboxTable, republishedWords } from "./outbox_table.tsx";
import type { PanelProps } from "./panel_props.ts";
import { ReplayPanel } from "./replay_panel.tsx";
import { filterWords } from "./replay_view.tsx";
import { testPulse } from "./testdata/test_pulse.ts";

const PANELS: readonly ((props: PanelProps) => JSX.Element)[] = [
  MachineDiagram,
  LiveCharts,
  AuditBadge,
  OutboxTable,
  InboxTable,
  DeadLettersTable,
  ReplayPanel,
  FaultsPanel,
];

function props(more: Partial<PanelProps> = {}): PanelProps {
  const api = createApiClient(() => Promise.reject(new Error("the server asks nothing")));
  return { api, pulse: testPulse(0), isStale: false, onSelectOrder: () => {}, ...more };
}

Deno.test("every panel is rendered on the server, without a request and without an inline style", () => {
  for (const Panel of PANELS) {
    for (const more of [{}, { pulse: null }, { isStale: true }]) {
      const html = renderToString(<Panel {...props(more)} />);
      assert(html.length > 100 && !html.includes("style="), Panel.name);
    }
  }
});

Deno.test("the machine has its figures in words, beside the drawing that screen readers skip", () => {
  const html = renderToString(<MachineDiagram {...props({ pulse: testPulse(0, { queues: null }) })} />);
  const drawing = html.indexOf('aria-hidden="true"><svg viewBox');
  const list = html.indexOf('aria-label="The machine, part by part"');
  assert(drawing > 0 && list > drawing);
  assertStringIncludes(html.slice(list), "broker unreachable");
  assertStringIncludes(html, "The broker cannot be reached");
});

Deno.test("what is stale is not shown as live", () => {
  assertStringIncludes(
    renderToString(<MachineDiagram {...props({ isStale: true })} />),
    "Not live: these figures are of 12:00:00 UTC",
  );
  assertStringIncludes(
    renderToString(<LiveCharts {...props({ isStale: true })} />),
    "nothing has been measured yet",
  );
  assertStringIncludes(renderToString(<LiveCharts {...props()} />), "orders now 0, at most 0");
});

Deno.test("results are told in words", () => {
  assertEquals(
    redrivenWords({ redriven: 3, alreadyProcessed: 1, refused: [] }),
    "Redriven 3, already processed 1.",
  );
  assertEquals(
    redrivenWords({ redriven: 0, alreadyProcessed: 0, refused: [{ id: "a", error: "no route" }] }),
    "Redriven 0, still open 1 (no route).",
  );
  const event = {
    id: "a",
    type: "order.created",
    orderId: "b",
    correlationId: "c",
    traceparent: null,
    payload: {},
    occurredAt: "",
    publishedAt: null,
    retryCount: 0,
    lastError: null,
    nextAttemptAt: null,
  };
  assertStringIncludes(
    republishedWords({ ...event, alreadyProcessedBy: ["x", "y"] }),
    "x and y processed it before",
  );
  assertStringIncludes(
    republishedWords({ ...event, alreadyProcessedBy: [] }),
    "No consumer has processed it yet",
  );
});

Deno.test("filterWords() says what a replay was asked for", () => {
  const replay = {
    id: "a",
    state: "DONE",
    total: 1,
    alreadyProcessed: 0,
    sent: 1,
    skipped: 0,
    ratePerSecond: null,
    lastError: null,
    reason: null,
    createdAt: "",
    startedAt: null,
    finishedAt: null,
  } as const;
  assertEquals(
    filterWords({ ...replay, filter: { type: "order.created", consumer: "x" } }),
    "order.created for x",
  );
  assertEquals(filterWords({ ...replay, filter: { from: "t" } }), "events from t");
});

Deno.test("violations() counts over all checks", () => {
  const check = { check: "a", promise: 1, violations: [] };
  const audit = {
    ok: false,
    checkedAt: "",
    graceSeconds: 1,
    orders: 1,
    events: 1,
    checks: [{ ...check, count: 2 }, { ...check, count: 1 }],
    waitingForOperator: { count: 9, orders: [] },
  };
  assertEquals(violations(audit), 3);
});

Deno.test("countOpenLetters() goes through the pages, as far as one request deals with", async () => {
  const letter = {
    id: "a",
    consumer: "c",
    eventId: null,
    eventType: null,
    orderId: null,
    correlationId: null,
    body: "",
    bodyBytes: 0,
    reason: "r",
    detail: "",
    attempts: 1,
    state: "OPEN",
    firstFailedAt: "",
    lastFailedAt: "",
    resolvedAt: null,
    resolution: null,
  };
  const asked: string[] = [];
  const endless = createApiClient((path) => {
    asked.push(String(path));
    return Promise.resolve(Response.json({ deadLetters: Array(100).fill(letter), nextCursor: "next" }));
  });
  assertEquals(await countOpenLetters(endless, { reason: "r" }), 1000);
  assertEquals(asked.length, 10);
  assertEquals(asked[1], "/ops/dead-letters?reason=r&state=OPEN&limit=100&cursor=next");
});
