/**
 * What all lists have in common: pages, and what their queries may not say.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { testApp } from "../../specs/support/test_app.ts";
import { newLetter, ORDER } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";

shareTestSchema();

const CONSUMER = "payments.order-created.v1";
const REPLAY = "/ops/replays/:id/events";

/** Each list, with the name of its rows, what tells them apart, and queries that it refuses. */
const LISTS: [path: string, rows: string, key: string, wrong: string[]][] = [
  ["/orders", "orders", "id", []],
  ["/ops/orders", "orders", "id", ["status=LOST", "search=%00", "search=a%00b", "search=%1b[2J"]],
  ["/ops/outbox", "events", "id", ["type=x"]],
  ["/ops/processed-events", "processedEvents", "eventId", [
    "consumer=%00",
    "eventId=1",
    `cursor=${"-".repeat(36)}~x`,
  ]],
  ["/ops/dead-letters", "deadLetters", "id", ["state=lost"]],
  ["/ops/messages", "messages", "eventId", ["state=lost"]],
  ["/ops/replays", "replays", "id", []],
  [REPLAY, "events", "eventId", []],
  ["/ops/operations", "operations", "id", []],
];

Deno.test("every list gives each row once, newest first, however small the pages, and refuses what is no query", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  for (let n = 0; n < 5; n++) {
    await call("POST /orders", ORDER);
    await call("PUT /ops/holds/relay");
    await insertDeadLetters(db.sql, [newLetter(CONSUMER)]);
  }
  await db.sql`update outbox_events set published_at = now()`;
  await db.sql`insert into processed_events select id, ${CONSUMER}, now() from outbox_events`;
  let replay = "";
  for (let n = 0; n < 5; n++) replay = (await call("POST /ops/replays", { type: "order.created" })).id;
  for (const [template, rows, key, wrong] of LISTS) {
    const path = template.replace(":id", replay);
    const keysOf = (page: Record<string, Record<string, string>[]>) =>
      page[rows]?.map((row) => row[key]) ?? [];
    const whole = keysOf(await call(`GET ${path}`));
    const sorted = template === REPLAY ? whole.toSorted() : whole.toSorted().toReversed(); // a set has its own order
    assertEquals([whole.length >= 5, whole], [true, sorted], path);
    const seen: unknown[] = [];
    for (let cursor: string | null = ""; cursor !== null && seen.length < whole.length + 5;) {
      const page: Awaited<ReturnType<typeof call>> = await call(
        `GET ${path}?limit=2${cursor && `&cursor=${cursor}`}`,
      );
      seen.push(...keysOf(page));
      cursor = page.nextCursor;
    }
    assertEquals(seen, whole, path);
    for (const query of ["limit=0", "cursor=x", ...wrong]) {
      assertEquals((await ask(`GET ${path}?${query}`)).status, 400, `${path}?${query}`);
    }
  }
  for (const query of ["graceSeconds=-1", "graceSeconds=x", "graceSeconds=1.5"]) {
    assertEquals((await ask(`GET /ops/audit?${query}`)).status, 400, query);
  }
  assertEquals((await ask(`GET /ops/replays/${crypto.randomUUID()}/events`)).status, 404);
});
