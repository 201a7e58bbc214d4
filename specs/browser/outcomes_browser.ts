import { assertEquals } from "@std/assert";
import { SCENARIOS } from "../../api/ops/scenarios.ts";
import { ended, shareBrowser, test } from "./browser.ts";

shareBrowser();

/** How long an order may take to its end on a machine that is busy with a whole system and a browser. */
const END_MS = 120_000;

test("each outcome, from the click to its final state on screen, without a reload", async ({ start, open }) => {
  await start();
  const page = await open();
  page.setDefaultTimeout(END_MS);
  await page.evaluate("window.untouched = true");
  const outcomes = {
    "Order success": "COMPLETED",
    "Payment failure": "PAYMENT_FAILED",
    "Enrollment failure": "REFUNDED",
  };
  for (const [name, status] of Object.entries(outcomes)) {
    await page.getByRole("button", { name }).click();
    await page.waitForURL(/\?order=[0-9a-f-]{36}/);
    await ended(page, status);
    // Its film started by itself, and can be seen to its end.
    await page.getByRole("button", { name: "Pause" }).click();
    const last = "The relay published notification.sent";
    await page.locator(".story-rows a").getByText(last).click();
    await page.locator(".film-title").getByText(last).waitFor();
    await page.locator(".steps [aria-current]").getByText(status).waitFor();
    await page.getByText("as promised").waitFor();
  }
  assertEquals(await page.evaluate("window.untouched"), true, "the page was loaded again");
  await page.locator(".order-row").nth(2).waitFor();
});

test("every scenario that ops offers, from the click to the end that its sentence tells", async ({ start, open }) => {
  const settings = {
    FAULTS_ENABLED: "true",
    PAYMENT_PROVIDER_TIMEOUT_MS: "1000",
    CONSUMER_MAX_RETRIES: "3",
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "4000",
  };
  await start(settings, { revive: true });
  const page = await open();
  page.setDefaultTimeout(END_MS);
  const openGroups = async () => {
    for (const group of await page.locator(".scenario-group > summary").all()) await group.click();
  };
  const click = async (name: string) => {
    await page.locator(`button.scenario-${name}`).click();
    await page.waitForURL(new RegExp(`played=${name}`));
    return page.url();
  };
  const end = async (expect: string) => {
    const [status = ""] = expect.match(/^[A-Z_]+/) ?? [];
    await ended(page, status);
    // A dead letter of the order itself is in its story; what came beside it does not concern it.
    const row = page.locator(".story-rows a.bad").getByText("Payments gave up on order.created");
    await (status === "PENDING" ? row : page.getByText("as promised")).waitFor();
  };
  // A scenario that ends a worker would make the one beside it begin anew: those come last, one after the other.
  const { calm = [], ends = [] } = Object.groupBy(
    SCENARIOS,
    ({ name, group }) => group === "Crashes" || name === "poison-message" ? "ends" : "calm",
  );
  const played: [url: string, expect: string][] = [];
  await openGroups();
  for (const { name, expect } of calm) played.push([await click(name), expect]);
  for (const [url, expect] of played) {
    await page.goto(url);
    await end(expect);
  }
  await openGroups();
  for (const { name, expect } of ends) {
    await click(name);
    await end(expect);
  }
  await page.goto("/?tab=messages&list=dead");
  const expected = SCENARIOS.filter(({ expect }) => expect.includes("dead letter")).length;
  await page.locator("main tbody tr").nth(expected - 1).waitFor();
});
