import { assertEquals } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import { PANELS } from "../../ui/url_state.ts";
import { eventually } from "../support/eventually.ts";
import { call } from "../support/http.ts";
import { type Page, PATIENCE_MS, play, sendToQueue, shareBrowser, test } from "./browser.ts";

shareBrowser();

/** Colours differ with the theme alone, and what is named how does not depend on the width. 1280 px at 200 % are 640. */
const LOOKS = [
  { look: { width: 1440 }, rules: "{}" },
  { look: { width: 1440, dark: true }, rules: "{ runOnly: ['color-contrast'] }" },
  { look: { width: 800 } },
  { look: { width: 640, height: 450 } },
  { look: { width: 390, height: 844, dark: true }, rules: "{}" },
];
const LONG_TYPE = `order.${"x".repeat(94)}`;

test("axe finds nothing to object to in any view, wide or narrow, light or dark, and nothing is wider than the screen", async ({ start, open }) => {
  const stack = await start({ FAULTS_ENABLED: "true", CONSUMER_MAX_RETRIES: "0" }, { apart: [] });
  const { url, db: { sql } } = stack;
  for (const scenario of ["order-success", "enrollment-failure", "provider-down", "malformed-message"]) {
    await play(stack, scenario);
  }
  type Ids = PromiseLike<readonly { readonly id: string }[]>;
  const find = (what: string, rows: () => Ids) =>
    eventually(what, async () => (await rows())[0]?.id, PATIENCE_MS);
  const id = await find(
    "a refund",
    () => sql<{ id: string }[]>`select id from orders where status = 'REFUNDED'`,
  );
  const envelope = { eventId: crypto.randomUUID(), type: LONG_TYPE, version: 1, data: { orderId: id } };
  const at = { occurredAt: new Date().toISOString(), correlationId: "long" };
  await sendToQueue(stack, JSON.stringify({ ...envelope, ...at }));
  const letter = await find(
    "its dead letter",
    () => sql<{ id: string }[]>`select id from dead_letters where event_type = ${LONG_TYPE}`,
  );
  const event = await find(
    "an event",
    () => sql<{ id: string }[]>`select id from outbox_events where order_id = ${id} limit 1`,
  );
  const { id: set } = await call(url, "POST /ops/dead-letters/sets", { ids: [letter] });
  const long = [`/?order=${id}&beat=7&played=enrollment-failure`, "/?tab=messages&list=dead"];
  const views = [
    ...[
      "/",
      ...long,
      "/?tab=messages",
      `/?tab=messages&event=${event}`,
      `/?letter=${letter}`,
      `/?set=${set}`,
    ],
    ...PANELS.filter(Boolean).map((panel) => `/?panel=${panel}`),
  ];
  const found: string[] = [];
  for (const { look, rules } of LOOKS) {
    const page = await open("/", look);
    const drawing = page.locator(".machine svg[viewBox]:visible"); // one of three, with all arrows and bindings
    const binding = drawing.getByText("refund.requested", { exact: true });
    const parts = [drawing, drawing.locator(".edge[marker-end]"), binding];
    assertEquals(await Promise.all(parts.map((part) => part.count())), [1, 21, 1], JSON.stringify(look));
    for (const view of views) {
      await page.goto(view);
      await page.locator(".live-live").waitFor();
      await page.getByText("Loading…").waitFor({ state: "detached" });
      if (long.includes(view)) await page.getByText(LONG_TYPE).first().waitFor();
      const objections = rules ? await violations(page, rules) : [];
      const sideways = Number(await page.evaluate("document.documentElement.scrollWidth - innerWidth"));
      if (sideways > 0) objections.push(`${sideways} px wider than the screen`);
      found.push(...objections.map((words) => `${view}, ${JSON.stringify(look)}: ${words}`));
    }
  }
  assertEquals(found, []);
});

/** What axe objects to on the page as it is, by the rules that its options name. */
async function violations(page: Page, options: string): Promise<string[]> {
  await page.evaluate(axe.source); // by the debugger: the page's own policy lets no foreign script in
  const results = await page.evaluate(
    `axe.run(${options}).then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes[0].html))`,
  );
  return Array.isArray(results) ? results.map(String) : [];
}
