import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually } from "../support/eventually.ts";
import { call } from "../support/http.ts";
import { placeOrders } from "../support/place_orders.ts";
import { ORDER } from "../support/test_events.ts";
import {
  completed,
  ended,
  goTo,
  lettersAre,
  PATIENCE_MS,
  play,
  sendToQueue,
  shareBrowser,
  test,
} from "./browser.ts";

shareBrowser();

const MARKUP = "<img/src=x/onerror=window.hacked=1>";

test("an event sent again is absorbed, and its story keeps its first publication", async ({ start, open }) => {
  const stack = await start();
  const id = await completed(stack);
  const page = await open(`/?order=${id}&beat=1`);
  await page.getByRole("link", { name: /Payments charged the card/ }).last().click();
  await page.getByRole("link", { name: "Show the message" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Send again…" }).click();
  await dialog.getByText("1 to be absorbed, 0 to be processed").waitFor();
  await dialog.getByRole("button", { name: "Send 1 again" }).click();
  await dialog.getByText("1 absorbed: nothing was done twice").waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".story-rows").getByText("Payments absorbed a repeat of order.created").waitFor();
  await page.locator(".story-rows").getByText(/(published order.created|order.created is published)\s*$/)
    .waitFor();
});

test("dead letters are sent again as the set that was counted, one edited, one discarded, and their orders end", async ({ start, open, troubles }) => {
  const stack = await start({ FAULTS_ENABLED: "true", CONSUMER_MAX_RETRIES: "0" });
  const id = await play(stack, "provider-down");
  const page = await open(`/?order=${id}`);
  await page.getByRole("link", { name: "Send it again, or discard it." }).waitFor(); // why not yet, and what helps
  await page.goto("/?tab=messages&list=dead");
  const rows = page.locator("main tbody tr");
  await rows.filter({ hasText: "order.created" }).first().waitFor();
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
  await lettersAre(3, stack);
  await dialog.getByRole("button", { name: "Send 1 again" }).click();
  await dialog.getByText("1 processed").waitFor();
  await page.keyboard.press("Escape");
  await lettersAre(2, stack);

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
  await dialog.getByText("1 processed").waitFor();
  await page.keyboard.press("Escape");

  await rows.getByRole("checkbox").first().check();
  await page.getByRole("button", { name: "Send again or discard: 1 letter…" }).click();
  await dialog.getByLabel("Or why are they discarded?").fill("no event of ours");
  await dialog.getByRole("button", { name: "Discard 1" }).click();
  await dialog.getByText("1 discarded").waitFor();
  await lettersAre(0, stack);
  await page.goto(`/?order=${id}&panel=actions`);
  await dialog.getByText("no event of ours").first().waitFor();
  await page.keyboard.press("Escape");
  await ended(page);
  assertMatch(troubles.shift() ?? "", /400/); // the body that was no event
});

test("published events are sent again by a filter: shown first, then followed to the end, or cancelled", async ({ start, open }) => {
  const stack = await start();
  await completed(stack);
  const page = await open("/?tab=messages");
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
  await dialog.getByText("1 absorbed").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Absorbed" }).click();
  await page.locator("main tbody tr").getByRole("link", { name: "order.created" }).waitFor();

  await prepare("payment.succeeded"); // two consumers
  await dialog.getByLabel("Messages per second").fill("1");
  await dialog.getByRole("button", { name: "Send 2 again" }).click();
  await dialog.getByRole("button", { name: "Cancel the rest" }).click();
  await dialog.getByText(/^cancelled: [01] of 2/).waitFor();
});

test("a fault is armed and disarmed on the page, beside what others have armed meanwhile", async ({ start, open }) => {
  const stack = await start({ FAULTS_ENABLED: "true" });
  const page = await open();
  await page.getByRole("link", { name: "Arm a fault" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Nothing is armed.").waitFor();
  await dialog.locator("summary").filter({ hasText: "provider.slow" }).click();
  const elsewhere = { faults: [{ point: "delivery.lost", correlationId: "of-another-tab" }] };
  await call(stack.url, "PUT /ops/faults", elsewhere);
  await dialog.getByRole("form", { name: "Arm provider.slow" }).getByRole("button", { name: "Arm" }).click();
  await dialog.getByText("provider.slow is armed, 1 time.").waitFor();
  await dialog.getByRole("button", { name: "Disarm provider.slow" }).click();
  await dialog.getByText("provider.slow is disarmed.").waitFor();
  await dialog.getByRole("button", { name: "Disarm delivery.lost" }).waitFor();
});

test("while orders flow the list holds still under the pointer, and a click opens the order that is there", async ({ start, open }) => {
  const stack = await start();
  const id = await completed(stack);
  const page = await open();
  const row = page.locator(".order-row").first();
  await row.hover();
  await placeOrders(stack.url, { orders: 12, connections: 2 });
  await page.getByRole("button", { name: /^(12|1\+) ?\+? new$|new$/ }).waitFor();
  assertEquals(await page.locator(".order-row").count(), 1);
  await row.click();
  await page.waitForURL(new RegExp(id));
  await page.locator(".film-bar").hover();
  await page.locator(".order-row").nth(12).waitFor(); // the list goes on
});

test("markup in what came from outside stays text, everywhere", async ({ start, open }) => {
  const stack = await start();
  const { id } = await call(stack.url, "POST /orders", ORDER, { "x-correlation-id": MARKUP });
  await sendToQueue(stack, `${MARKUP}<script>window.hacked = 1</script></script>`);
  const page = await open(`/?order=${id}&beat=1`);
  await ended(page);
  await page.getByRole("link", { name: /Payments charged the card/ }).last().click();
  await page.getByRole("link", { name: "Show the message" }).click();
  await page.getByRole("dialog").getByText(MARKUP).first().waitFor();
  await page.goto("/?tab=messages&list=dead");
  await page.getByRole("link", { name: "unreadable" }).click();
  await page.getByRole("dialog").getByText("window.hacked = 1").first().waitFor();
  assertEquals(await page.evaluate("window.hacked"), undefined);
  assertEquals(await page.locator("img").count(), 0);
});

test("hundreds of events per second do not freeze the page, and move nothing on it", async ({ start, open }) => {
  const stack = await start();
  const page = await open("/?tab=messages");
  await page.locator(".live-live").waitFor();
  await goTo(page, "Orders");
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
  await goTo(page, "Messages");
  await page.locator("main").filter({ has: page.locator(".facets .count") }).locator("tbody tr").first()
    .waitFor();
  await page.evaluate( // without the rows that came: the observer hears of a frame behind it
    "new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(next))))" +
      ".then(() => { window.shift = 0; })",
  );
  await placeOrders(stack.url, { orders: 500, connections: 8 });
  await isStill();
  assert(await page.locator("*").count() < 3000, "the page grows with the load");
});
