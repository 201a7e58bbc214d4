import { assert, assertEquals, assertMatch } from "@std/assert";
import { connect } from "amqplib";
import { Buffer } from "node:buffer";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { openPage, type Page, shareBrowser } from "./browser.ts";
import { eventually } from "../support/eventually.ts";
import { placeOrders } from "../support/place_orders.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack, type TestStack } from "../support/test_stack.ts";

shareTestSchema();
shareBrowser();

const PATIENCE_MS = 30_000;
const MARKUP = "<img/src=x/onerror=window.hacked=1>";

Deno.test("an event published again is absorbed, and the story shows it", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(`${stack.url}/?order=${id}`);
  const { page, troubles } = opened;
  await page.getByRole("link", { name: "payment.succeeded" }).click();
  await page.getByRole("button", { name: "Republish" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Republish" }).click();
  await page.getByText("absorbed: nothing was done twice").waitFor({ timeout: PATIENCE_MS });
  await page.locator(".mark-duplicate").first().waitFor();
  assertEquals(troubles, []);
});

Deno.test("a dead letter is redriven on the page, and its order ends", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true", CONSUMER_MAX_RETRIES: "0" }, { apart: [] });
  const id = await play(stack, "provider-down");
  await using opened = await openPage(`${stack.url}/?tab=dead-letters`);
  const { page, troubles } = opened;
  const row = page.locator("main tbody tr").filter({ hasText: "retries exhausted" });
  await row.first().waitFor({ timeout: PATIENCE_MS });
  await stack.db.sql`update faults set remaining = 0`;
  await stack.db.sql`select pg_notify('orderflow_faults', '')`;
  await eventually("the redrive to get through", async () => {
    await row.first().getByRole("button").first().click(); // opens it
    await page.getByRole("button", { name: "Redrive", exact: true }).first().click();
    await page.getByRole("dialog").getByRole("button", { name: /^Redrive/ }).click();
    await page.getByText(/Redriven 1|1 redriven|Sent/i).first().waitFor();
    return true;
  }, PATIENCE_MS);
  await page.goto(`${stack.url}/?order=${id}`);
  await page.locator(".story-head").getByText("COMPLETED", { exact: true }).waitFor({ timeout: PATIENCE_MS });
  assertEquals(troubles, []);
});

Deno.test("what happens elsewhere is seen in every tab, without a reload", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(stack.url);
  const second = await opened.context.newPage();
  await second.goto(`${stack.url}/?tab=machine`);
  const id = await completed(stack);
  const ending = id.slice(-4);
  await opened.page.locator(".order-row").filter({ hasText: ending }).getByText("COMPLETED").waitFor({
    timeout: PATIENCE_MS,
  });
  await second.locator(".order-row").filter({ hasText: ending }).getByText("COMPLETED").waitFor({
    timeout: PATIENCE_MS,
  });
  assertEquals(opened.troubles, []);
});

Deno.test("a page whose server goes says so, keeps what it had, and comes back by itself", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(`${stack.url}/?order=${id}`);
  const { page } = opened;
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  await stack.stop("api");
  await page.getByText("Disconnected").waitFor({ timeout: PATIENCE_MS });
  await page.getByRole("link", { name: "order.created" }).waitFor(); // still readable
  stack.start("api");
  await page.getByText("Connected again").waitFor({ timeout: PATIENCE_MS });
  const later = await completed(stack);
  await page.locator(".order-row").filter({ hasText: later.slice(-4) }).waitFor({ timeout: PATIENCE_MS });
});

Deno.test("paused, the page holds what it shows, counts what it misses, and goes on where things stand", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  await page.getByRole("button", { name: "Pause live updates" }).click();
  const id = await completed(stack);
  await page.getByText(/Paused, \d+ missed/).waitFor({ timeout: PATIENCE_MS });
  assertEquals(await page.locator(".order-row").count(), 0);
  await page.getByRole("button", { name: "Resume live updates" }).click();
  await page.locator(".order-row").filter({ hasText: id.slice(-4) }).waitFor({ timeout: PATIENCE_MS });
  assertEquals(troubles, []);
});

Deno.test("the keyboard is enough: a scenario played, an event opened and closed", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  await page.keyboard.press("Tab");
  assertMatch(await focused(page), /^Skip to the /);
  await tabTo(page, /^Order success/);
  await page.keyboard.press("Enter");
  await page.locator(".story-head").getByText("COMPLETED", { exact: true }).waitFor({ timeout: PATIENCE_MS });
  await tabTo(page, /^order\.created/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "order.created" }).waitFor();
  await tabTo(page, /^Republish/);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await tabTo(page, /^Close the event/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "order.created" }).waitFor({ state: "detached" });
  assertEquals(troubles, []);
});

Deno.test("the URL holds the view: shared, it shows the same; the back button goes back", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await play(stack, "payment-failure");
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  await page.locator(".order-row").filter({ hasText: id.slice(-4) }).getByRole("link").click();
  await page.locator(".story-head").waitFor();
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Inbox" }).click();
  await page.getByRole("heading", { name: /Inbox|Processed/ }).waitFor();
  const shared = page.url();
  await page.goBack();
  await page.locator(".story-head").waitFor();
  await page.goBack();
  await page.getByText("Follow one order through the machine").waitFor();
  await page.getByLabel("Status").selectOption("PAYMENT_FAILED");
  await eventually("the list to be filtered", async () => await page.locator(".order-row").count() === 1);
  assertMatch(page.url(), /status=PAYMENT_FAILED/);
  await page.goto(shared);
  await page.getByRole("heading", { name: /Inbox|Processed/ }).waitFor();
  assertEquals(troubles, []);
});

Deno.test("without scripts the orders, their filters and a story can be read", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(`${stack.url}/?order=${id}`, { scripts: false });
  const { page } = opened;
  await page.locator(".story-head").getByText("COMPLETED", { exact: true }).waitFor();
  await page.getByRole("link", { name: "enrollment.granted" }).waitFor();
  assertEquals(await page.locator(".order-row").count(), 1);
  await page.getByLabel("Status").selectOption("REFUNDED");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("No order matches.").waitFor();
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
  await using opened = await openPage(`${stack.url}/?order=${id}`);
  const { page, troubles } = opened;
  await page.locator(".story-head").getByText("COMPLETED", { exact: true }).waitFor({ timeout: PATIENCE_MS });
  await page.getByRole("link", { name: "order.created" }).click();
  await page.locator(".event-envelope").getByText(MARKUP).waitFor();
  await page.goto(`${stack.url}/?tab=dead-letters`);
  const row = page.locator("main tbody tr").first();
  await row.waitFor({ timeout: PATIENCE_MS });
  await row.getByRole("button").first().click();
  await page.locator("main").getByText("window.hacked = 1").first().waitFor();
  assertEquals(await page.evaluate("window.hacked"), undefined);
  assertEquals(await page.locator("img").count(), 0);
  assertEquals(troubles, []);
});

Deno.test("with a token the page asks for it once, and keeps a cookie that no script can read", async () => {
  const token = "a-token-of-the-test";
  await using stack = await startStack({ OPS_TOKEN: token }, { apart: [] });
  await using opened = await openPage(stack.url);
  const { page, context } = opened;
  await page.getByLabel("Token").fill("something else entirely");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("That is not the token").waitFor();
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Order success" }).click();
  await page.locator(".story-head").getByText("COMPLETED", { exact: true }).waitFor({ timeout: PATIENCE_MS });
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  const [cookie] = await context.cookies();
  assertEquals([cookie?.httpOnly, cookie?.sameSite], [true, "Strict"]);
  assert(!cookie?.value.includes(token));
  await page.reload();
  await page.locator(".story-head").waitFor();
  const stranger = await fetch(`${stack.url}/ops/debug`);
  await stranger.body?.cancel();
  assertEquals(stranger.status, 401);
});

Deno.test("hundreds of events per second do not freeze the page", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(`${stack.url}/?tab=machine`);
  const { page, troubles } = opened;
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  const views = page.getByRole("navigation", { name: "Views" });
  await Promise.all([
    placeOrders(stack.url, { orders: 1500, connections: 8 }),
    views.getByRole("link", { name: "Orders" }).click() // answers while it all flows
      .then(() => page.getByText("Follow one order through the machine").waitFor()),
  ]);
  await views.getByRole("link", { name: "Machine" }).click();
  await page.getByRole("heading", { name: /machine/i }).first().waitFor();
  assert(await page.locator("*").count() < 3000, "the page grows with the load");
  assertEquals(troubles, []);
});

async function play({ url }: TestStack, scenario: string): Promise<string> {
  const response = await fetch(`${url}/ops/scenarios/${scenario}`, { method: "POST" });
  return (await response.json()).id;
}

async function completed(stack: TestStack): Promise<string> {
  const id = await eventually("an order", async () => await play(stack, "order-success").catch(() => null));
  await eventually("it to end", async () => {
    const [row] = await stack.db.sql`select status from orders where id = ${id}`;
    return row?.status === "COMPLETED";
  }, PATIENCE_MS);
  return id;
}

async function sendToQueue({ broker }: TestStack, body: string): Promise<void> {
  const model = await connect(broker.url);
  const channel = await model.createConfirmChannel();
  channel.sendToQueue(broker.topology.queues.paymentsOrderCreated.name, Buffer.from(body));
  await channel.waitForConfirms();
  await model.close();
}

/** The accessible words of what has the focus. */
async function focused(page: Page): Promise<string> {
  return String(
    await page.evaluate(
      "(document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '').trim()",
    ),
  );
}

/** Presses Tab until what has the focus reads so. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let presses = 0; presses < 200; presses++) {
    if (name.test(await focused(page))) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not come to ${name}`);
}
