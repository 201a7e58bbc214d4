import { assert, assertEquals, assertMatch } from "@std/assert";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { openPage, shareBrowser } from "./browser.ts";
import { completed, lettersOf, PATIENCE_MS, play, sendToQueue } from "./stacks.ts";
import { eventually } from "../support/eventually.ts";
import { placeOrders } from "../support/place_orders.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();
shareBrowser();

const MARKUP = "<img/src=x/onerror=window.hacked=1>";

Deno.test("an event sent again is absorbed, and its story keeps its first publication", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(`${stack.url}/?order=${id}&beat=1`);
  const { page, troubles } = opened;
  await page.getByRole("link", { name: /Payments charged the card/ }).last().click();
  await page.getByRole("link", { name: "Show the message" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Send again…" }).click();
  await dialog.getByText("1 to be absorbed, 0 to be processed").waitFor();
  await dialog.getByRole("button", { name: "Send 1 again" }).click();
  await dialog.getByText("1 absorbed: nothing was done twice").waitFor({ timeout: PATIENCE_MS });
  await page.keyboard.press("Escape");
  await page.locator(".story-rows").getByText("Payments absorbed a repeat of order.created").waitFor({
    timeout: PATIENCE_MS,
  });
  await page.locator(".story-rows").getByText(/(published order.created|order.created is published)\s*$/)
    .waitFor();
  assertEquals(troubles, []);
});

Deno.test("dead letters are sent again as the set that was counted, one edited, one discarded, and their orders end", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true", CONSUMER_MAX_RETRIES: "0" }, { apart: [] });
  const id = await play(stack, "provider-down");
  await using opened = await openPage(`${stack.url}/?order=${id}`);
  const { page, troubles } = opened;
  await page.getByRole("link", { name: "Send it again, or discard it." }).waitFor({ timeout: PATIENCE_MS }); // why not yet, and what helps
  await page.goto(`${stack.url}/?tab=messages&list=dead`);
  const rows = page.locator("main tbody tr");
  await rows.filter({ hasText: "order.created" }).first().waitFor({ timeout: PATIENCE_MS });
  await stack.db.sql`update faults set remaining = 0`;
  await stack.db.sql`select pg_notify('orderflow_faults', '')`;
  const group = page.getByRole("list", { name: "Groups of dead letters" }).getByRole("listitem")
    .filter({ hasText: "retries exhausted" });
  await group.getByRole("button", { name: "Send again or discard…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("1 dead letter").first().waitFor();
  // What comes while somebody decides is not in the set.
  const [event] = await stack.db.sql<{ payload: Record<string, unknown> }[]>`
    select payload from outbox_events where order_id = ${id} and type = 'order.created'`;
  const broken = JSON.stringify({ ...event?.payload, eventId: crypto.randomUUID() }).replace(
    "49.90",
    "a lot",
  );
  await sendToQueue(stack, broken);
  await sendToQueue(stack, "came later");
  await eventually("the later letters", async () => await lettersOf(stack) === 3, PATIENCE_MS);
  await dialog.getByRole("button", { name: "Send 1 again" }).click();
  await dialog.getByText("1 processed").waitFor({ timeout: PATIENCE_MS });
  await page.keyboard.press("Escape");
  assertEquals(await lettersOf(stack), 2);

  await page.locator("main").hover({ position: { x: 1, y: 1 } });
  await eventually("the list to have the others", async () => await rows.count() === 2, PATIENCE_MS);
  await rows.getByRole("link", { name: "order.created" }).click();
  await dialog.getByRole("button", { name: "Edit the body…" }).click();
  const body = dialog.getByLabel("Body, edited");
  await body.fill((await body.inputValue()).replace("a lot", "-1"));
  await dialog.getByRole("button", { name: "Send it as edited" }).click();
  await dialog.getByRole("alert").getByText(/amount/).waitFor();
  await body.fill((await body.inputValue()).replace("-1", "49.90"));
  await dialog.getByLabel("What is changed").getByText('"49.90"').waitFor();
  await dialog.getByRole("button", { name: "Send it as edited" }).click();
  await dialog.getByText("1 processed").waitFor({ timeout: PATIENCE_MS });
  await page.keyboard.press("Escape");

  await rows.getByRole("checkbox").first().check();
  await page.getByRole("button", { name: "Send again or discard: 1 letter…" }).click();
  await dialog.getByLabel("Or why are they discarded?").fill("no event of ours");
  await dialog.getByRole("button", { name: "Discard 1" }).click();
  await dialog.getByText("1 discarded").waitFor({ timeout: PATIENCE_MS });
  assertEquals(await lettersOf(stack), 0);
  await page.goto(`${stack.url}/?order=${id}&panel=actions`);
  await dialog.getByText("no event of ours").first().waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".order-head .badge").getByText("COMPLETED", { exact: true }).first().waitFor({
    timeout: PATIENCE_MS,
  });
  const [refused, ...others] = troubles; // the body that was no event
  assertMatch(refused ?? "", /400/);
  assertEquals(others, []);
});

Deno.test("published events are sent again by a filter: shown first, then followed to the end, or cancelled", async () => {
  await using stack = await startStack({}, { apart: [] });
  await completed(stack);
  await using opened = await openPage(`${stack.url}/?tab=messages`);
  const { page, troubles } = opened;
  const dialog = page.getByRole("dialog");
  const prepare = async (type: string) => {
    await page.getByRole("link", { name: "Send events again…" }).click();
    await dialog.getByLabel("Type").selectOption(type);
    await dialog.getByRole("button", { name: "Show what that is" }).click();
    await dialog.getByText("This set is frozen").waitFor();
    assertMatch(page.url(), /set=/);
  };
  await prepare("order.created");
  await dialog.getByText("1 to be absorbed").waitFor();
  await dialog.getByRole("button", { name: "Send 1 again" }).click();
  await dialog.getByText("1 absorbed").waitFor({ timeout: PATIENCE_MS });
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Absorbed" }).click();
  await page.locator("main tbody tr").getByRole("link", { name: "order.created" }).waitFor({
    timeout: PATIENCE_MS,
  });

  await prepare("payment.succeeded"); // two consumers
  await dialog.getByLabel("Messages per second").fill("1");
  await dialog.getByRole("button", { name: "Send 2 again" }).click();
  await dialog.getByRole("button", { name: "Cancel the rest" }).click();
  await dialog.getByText(/^cancelled: [01] of 2/).waitFor({ timeout: PATIENCE_MS });
  assertEquals(troubles, []);
});

Deno.test("nothing overflows with an event type of 100 letters, or at 200 % zoom", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  const long = `order.${"x".repeat(94)}`;
  const envelope = { eventId: crypto.randomUUID(), type: long, version: 1, data: { orderId: id } };
  const at = { occurredAt: new Date().toISOString(), correlationId: "long" };
  await sendToQueue(stack, JSON.stringify({ ...envelope, ...at }));
  await eventually("the dead letter", async () => await lettersOf(stack) === 1, PATIENCE_MS);
  // 1280 px at 200 % are 640 CSS pixels.
  for (const [width, height] of [[1440, 900], [640, 450], [390, 844]] as const) {
    await using opened = await openPage(`${stack.url}/?order=${id}`, { width, height });
    const { page, troubles } = opened;
    await page.locator(".story-rows").getByText(long).first().waitFor();
    for (const view of [`/?order=${id}`, "/?tab=messages&list=dead"]) {
      await page.goto(`${stack.url}${view}`);
      await page.getByText(long).first().waitFor({ timeout: PATIENCE_MS });
      const sideways = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      assertEquals(sideways, 0, `${view} at ${width} px`);
    }
    assertEquals(troubles, []);
  }
});

Deno.test("a fault is armed and disarmed on the page, beside what others have armed meanwhile", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true" }, { apart: [] });
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  await page.getByRole("link", { name: "Arm a fault" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Nothing is armed.").waitFor();
  await dialog.locator("summary").filter({ hasText: "provider.slow" }).click();
  await fetch(`${stack.url}/ops/faults`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ faults: [{ point: "delivery.lost", correlationId: "of-another-tab" }] }),
  }).then((response) => response.body?.cancel());
  await dialog.getByRole("form", { name: "Arm provider.slow" }).getByRole("button", { name: "Arm" }).click();
  await dialog.getByText("provider.slow is armed, 1 time.").waitFor();
  await dialog.getByRole("button", { name: "Disarm provider.slow" }).click();
  await dialog.getByText("provider.slow is disarmed.").waitFor();
  await dialog.getByRole("button", { name: "Disarm delivery.lost" }).waitFor();
  assertEquals(troubles, []);
});

Deno.test("while orders flow the list holds still under the pointer, and a click opens the order that is there", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  const row = page.locator(".order-row").first();
  await row.hover();
  await placeOrders(stack.url, { orders: 12, connections: 2 });
  await page.getByRole("button", { name: /^(12|1\+) ?\+? new$|new$/ }).waitFor({ timeout: PATIENCE_MS });
  assertEquals(await page.locator(".order-row").count(), 1);
  await row.click();
  await page.waitForURL(new RegExp(id));
  await page.locator(".film-bar").hover();
  await eventually(
    "the list to go on",
    async () => await page.locator(".order-row").count() === 13,
    PATIENCE_MS,
  );
  assertEquals(troubles, []);
});

Deno.test("markup in what came from outside stays text, everywhere", async () => {
  await using stack = await startStack({}, { apart: [] });
  const response = await fetch(`${stack.url}/orders`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-correlation-id": MARKUP },
    body: JSON.stringify({ userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" }),
  });
  const { id } = await response.json();
  await sendToQueue(stack, `${MARKUP}<script>window.hacked = 1</script></script>`);
  await using opened = await openPage(`${stack.url}/?order=${id}&beat=1`);
  const { page, troubles } = opened;
  await page.locator(".order-head .badge").getByText("COMPLETED", { exact: true }).first().waitFor({
    timeout: PATIENCE_MS,
  });
  await page.getByRole("link", { name: /Payments charged the card/ }).last().click();
  await page.getByRole("link", { name: "Show the message" }).click();
  await page.getByRole("dialog").getByText(MARKUP).first().waitFor();
  await page.goto(`${stack.url}/?tab=messages&list=dead`);
  await page.getByRole("link", { name: "unreadable" }).click({ timeout: PATIENCE_MS });
  await page.getByRole("dialog").getByText("window.hacked = 1").first().waitFor();
  assertEquals(await page.evaluate("window.hacked"), undefined);
  assertEquals(await page.locator("img").count(), 0);
  assertEquals(troubles, []);
});

Deno.test("hundreds of events per second do not freeze the page, and move nothing on it", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(`${stack.url}/?tab=messages`);
  const { page, troubles } = opened;
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  const views = page.getByRole("navigation", { name: "Views" });
  await views.getByRole("link", { name: "Orders" }).click();
  await page.evaluate(
    "window.shift = 0; new PerformanceObserver((list) => { for (const { value, hadRecentInput } of list.getEntries()) " +
      "if (!hadRecentInput) window.shift += value; }).observe({ type: 'layout-shift' })",
  );
  await placeOrders(stack.url, { orders: 1500, connections: 8 });
  await page.getByText("Place an order, and watch it go through the machine").waitFor();
  const isStill = async () => {
    const shift = Number(await page.evaluate("window.shift"));
    assert(shift < 0.02, `the layout shifted by ${shift}`);
  };
  await isStill();
  await views.getByRole("link", { name: "Messages" }).click();
  await page.locator("main tbody tr").first().waitFor({ timeout: PATIENCE_MS });
  await page.evaluate("window.shift = 0"); // the rows that came
  await placeOrders(stack.url, { orders: 500, connections: 8 });
  await isStill();
  assert(await page.locator("*").count() < 3000, "the page grows with the load");
  assertEquals(troubles, []);
});
