import { assertEquals } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import { openPage, type Page, shareBrowser } from "./browser.ts";
import { eventually } from "../support/eventually.ts";
import { PANELS } from "../../ui/url_state.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();
shareBrowser();

const PATIENCE_MS = 30_000;

Deno.test("axe finds nothing to object to in any view, wide or narrow, light or dark, and nothing is wider than the screen", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true", CONSUMER_MAX_RETRIES: "0" }, { apart: [] });
  for (const scenario of ["order-success", "enrollment-failure", "provider-down", "malformed-message"]) {
    const response = await fetch(`${stack.url}/ops/scenarios/${scenario}`, { method: "POST" });
    await response.body?.cancel();
  }
  const find = (what: string, rows: () => PromiseLike<readonly { readonly id: string }[]>) =>
    eventually(what, async () => (await rows())[0]?.id, PATIENCE_MS);
  const { sql } = stack.db;
  const id = await find(
    "a refund",
    () => sql<{ id: string }[]>`select id from orders where status = 'REFUNDED'`,
  );
  const letter = await find(
    "a dead letter",
    () => sql<{ id: string }[]>`select id from dead_letters limit 1`,
  );
  const event = await find(
    "an event",
    () => sql<{ id: string }[]>`select id from outbox_events where order_id = ${id} limit 1`,
  );
  const prepared = await fetch(`${stack.url}/ops/dead-letters/sets`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ids: [letter] }),
  });
  const { id: set } = await prepared.json();
  const found: string[] = [];
  // Colours differ with the theme alone, and what is named how does not depend on the width.
  const looks = [[1440, false, "all"], [1440, true, "colours"], [800, false, "width"], [
    390,
    true,
    "all",
  ]] as const;
  for (const [width, dark, what] of looks) {
    await using opened = await openPage(stack.url, { width, dark });
    const { page, troubles } = opened;
    const views = [
      "/",
      `/?order=${id}&beat=7&played=enrollment-failure`,
      "/?tab=messages",
      "/?tab=messages&list=dead",
      `/?tab=messages&event=${event}`,
      `/?letter=${letter}`,
      `/?set=${set}`,
      ...PANELS.filter(Boolean).map((panel) => `/?panel=${panel}`),
    ];
    for (const view of views) {
      await page.goto(`${stack.url}${view}`);
      await page.locator(".live-live").waitFor();
      await page.getByText("Loading…").waitFor({ state: "detached" });
      const where = `${view} at ${width} px, ${dark ? "dark" : "light"}`;
      if (what !== "width") {
        const rules = what === "all" ? "{}" : "{ runOnly: ['color-contrast'] }";
        found.push(...(await violations(page, rules)).map((words) => `${where}: ${words}`));
      }
      const sideways = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      if (Number(sideways) > 0) found.push(`${where}: ${sideways} px wider than the screen`);
    }
    assertEquals(troubles, []);
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
