import { assertEquals } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import { openPage, type Page, shareBrowser } from "./browser.ts";
import { eventually } from "../support/eventually.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();
shareBrowser();

const LISTS = ["all", "waiting", "queued", "retrying", "dead", "done", "again"];

Deno.test("axe finds nothing to object to in any view, wide or narrow, light or dark, and nothing is wider than the screen", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true", CONSUMER_MAX_RETRIES: "0" }, { apart: [] });
  for (const scenario of ["order-success", "enrollment-failure", "provider-down", "malformed-message"]) {
    const response = await fetch(`${stack.url}/ops/scenarios/${scenario}`, { method: "POST" });
    await response.body?.cancel();
  }
  const [id] = await eventually("a refund", async () => {
    return (await stack.db.sql<{ id: string }[]>`select id from orders where status = 'REFUNDED'`)[0]?.id
      .split(" ");
  });
  const [row] = await stack.db.sql<{ id: string }[]>`select id from outbox_events where order_id = ${
    id ?? ""
  } limit 1`;
  const event = row?.id;
  const found: string[] = [];
  for (const width of [1440, 800, 390]) {
    for (const dark of [false, true]) {
      await using opened = await openPage(stack.url, { width, dark });
      const { page, troubles } = opened;
      const views = [
        "/",
        `/?order=${id}&beat=7&played=enrollment-failure`,
        ...LISTS.map((list) => `/?tab=messages&list=${list}`),
        `/?tab=messages&event=${event}`,
      ];
      for (const view of views) {
        await page.goto(`${stack.url}${view}`);
        await page.locator(".live-live").waitFor();
        await page.getByText("Loading…").waitFor({ state: "detached" });
        const where = `${view} at ${width} px, ${dark ? "dark" : "light"}`;
        found.push(...(await violations(page)).map((words) => `${where}: ${words}`));
        const sideways = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        if (Number(sideways) > 0) found.push(`${where}: ${sideways} px wider than the screen`);
      }
      assertEquals(troubles, []);
    }
  }
  assertEquals(found, []);
});

/** What axe objects to on the page as it is. */
async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source); // by the debugger: the page's own policy lets no foreign script in
  const results = await page.evaluate(
    "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`))",
  );
  return Array.isArray(results) ? results.map(String) : [];
}
