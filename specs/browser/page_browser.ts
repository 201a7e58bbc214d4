import { assert, assertEquals, assertMatch } from "@std/assert";
import { call } from "../support/http.ts";
import { completed, ended, goTo, type Page, play, shareBrowser, test } from "./browser.ts";

shareBrowser();

test("the reference shows every operation and sends a request, and asks nobody else for anything", async ({ start, open }) => {
  const stack = await start({}, { apart: [], processes: ["api"] });
  const { paths } = await call(stack.url, "GET /openapi.json");
  const operations = Object.values<object>(paths).flatMap((methods) => Object.keys(methods));
  assert(operations.length > 30, `${operations.length} operations`);
  const page = await open("/docs");
  await page.locator(".opblock").first().waitFor();
  assertEquals(await page.locator(".opblock").count(), operations.length);
  assertEquals(await page.locator(".errors-wrapper").count(), 0);
  const order = page.locator("#operations-Orders-placeOrder");
  await order.locator(".opblock-summary-control").click();
  await order.getByRole("button", { name: "Try it out" }).click();
  await order.getByRole("button", { name: "Execute" }).click();
  await order.locator(".live-responses-table").getByText("201", { exact: true }).first().waitFor();
});

test("the film goes beat by beat, by buttons, keys and address, and plays slowly", async ({ start, open }) => {
  const stack = await start();
  const id = await completed(stack);
  // Now and then a consumer is quicker than the note of the broker's confirm; here it is not.
  await stack.db.sql`update outbox_events set published_at = occurred_at where order_id = ${id}`;
  const page = await open(`/?order=${id}&beat=2`);
  const title = page.locator(".film-title");
  await title.getByText("The relay published order.created").waitFor();
  const drawing = page.locator(".machine svg:visible");
  assertEquals(await drawing.locator(".here").allTextContents(), ["order.created"]); // in its queue
  await page.getByRole("button", { name: "Step", exact: true }).click();
  await title.getByText("Payments charged the card").waitFor();
  await page.getByText("One transaction: the charge, the inbox row for order.created").waitFor();
  await page.locator(".tables .is-changed").getByText("SUCCEEDED").waitFor();
  assertMatch(page.url(), /beat=3/);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  await title.getByText("An order was placed").waitFor();
  await page.getByRole("button", { name: "Play slowly" }).click();
  await title.getByText("The relay published order.created").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  const shared = page.url();
  await page.goto("/");
  await page.goto(shared);
  await title.getByText("The relay published order.created").waitFor();
});

test("holds stop an order at a part of the machine, and steps let it through, one event at a time", async ({ start, open }) => {
  const stack = await start({ FAULTS_ENABLED: "true" });
  await completed(stack);
  const page = await open();
  const holds = page.getByRole("group", { name: "Breakpoints" });
  const hold = async (part: string) => {
    await holds.getByLabel("What to hold").selectOption(part);
    await holds.getByRole("button", { name: "Hold", exact: true }).click();
    await holds.getByRole("button", { name: new RegExp(`^Resume ${part}`) }).waitFor();
  };
  const node = (text: string) => page.locator(".machine svg:visible .node.held").filter({ hasText: text });
  await hold("The relay");
  await node("Relay").waitFor();
  await page.locator(".health").getByText(/The relay is held until/).waitFor();
  await page.getByRole("button", { name: "Order success" }).click();
  const rows = page.locator(".story-rows li");
  await page.locator(".order-head").getByText(/below the diagram/).waitFor(); // why not yet
  assertEquals(await rows.count(), 1);

  await hold("payments.order-created, before its commit"); // where one can stop inside of it
  await holds.getByRole("button", { name: /^Step.*The relay/ }).click();
  await rows.getByText("The relay published order.created").waitFor();
  await node("payments").waitFor();
  assertEquals(await rows.getByText("Payments charged the card").count(), 0);
  await holds.getByRole("button", { name: /^Resume payments/ }).click();
  await rows.getByText("Payments charged the card").waitFor();
  assertEquals(await rows.getByText("The relay published payment.succeeded").count(), 0);

  await holds.getByRole("button", { name: "Resume The relay" }).click();
  await ended(page);
  await node("Relay").waitFor({ state: "detached" });
});

test("one sentence says what is wrong, on every view, and the auditor's findings stand behind it", async ({ start, open }) => {
  const stack = await start({}, { apart: ["outbox-relay"] });
  await completed(stack);
  const page = await open("/?tab=messages");
  const health = page.locator(".health");
  await health.getByText("Every part runs, every promise holds").waitFor();
  await stack.stop("outbox-relay");
  await health.getByText(/The relay is (not running|silent)/).waitFor();
  await page.getByRole("link", { name: "Orders", exact: true }).click();
  await health.getByText(/The relay is (not running|silent)/).waitFor();
  await page.locator(".machine svg:visible .node.bad").getByText("Relay").waitFor();
  await health.click();
  await page.getByRole("dialog").getByText("The auditor's findings").waitFor();
});

test("a page whose server goes says so, dims what it had, and comes back by itself", async ({ start, open, troubles }) => {
  const stack = await start();
  const id = await completed(stack);
  const page = await open(`/?order=${id}`);
  await page.locator(".live-live").waitFor();
  await stack.stop("api");
  await page.locator(".health").getByText("Disconnected").waitFor();
  await page.locator(".is-stale").getByText("Payments charged the card").last().waitFor(); // still readable
  stack.start("api");
  await page.getByText("Connected again").waitFor();
  const later = await completed(stack);
  await page.locator(".order-row").filter({ hasText: later.slice(-4) }).waitFor();
  troubles.length = 0; // the server was gone
});

test("the keyboard is enough: a scenario played, stepped through, and a message opened and closed", async ({ start, open }) => {
  await start();
  const page = await open();
  await page.keyboard.press("Tab");
  assertMatch(await focused(page), /^Skip to the /);
  await tabTo(page, /^Order success/);
  await page.keyboard.press("Enter");
  await ended(page);
  await page.keyboard.press("ArrowRight"); // which also stops the film
  await tabTo(page, /^Show the message/);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText("Where it has been").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("the URL holds the view: shared, it shows the same; the back button goes back", async ({ start, open }) => {
  const stack = await start();
  const id = await completed(stack);
  await play(stack, "payment-failure");
  const page = await open();
  await page.locator(".order-row").filter({ hasText: id.slice(-4) }).click();
  await page.locator(".order-head").waitFor();
  await goTo(page, "Messages");
  await page.getByRole("link", { name: "Done" }).click();
  await page.getByText(/effect and its inbox row/).waitFor();
  const shared = page.url();
  await page.goBack();
  await page.goBack();
  await page.locator(".order-head").getByText("COMPLETED").first().waitFor(); // read again: the page came with no order
  await page.goBack();
  await page.getByText("Place an order, and watch it go through the machine").waitFor();
  await page.getByLabel("Status").selectOption("PAYMENT_FAILED");
  await page.locator(".order-row").filter({ hasText: id.slice(-4) }).waitFor({ state: "detached" });
  assertEquals(await page.locator(".order-row").count(), 1);
  assertMatch(page.url(), /status=PAYMENT_FAILED/);
  await page.goto(shared);
  await page.getByText(/effect and its inbox row/).waitFor();
});

test("without scripts the orders, their filters and a film can be read", async ({ start, open }) => {
  const stack = await start();
  const id = await completed(stack);
  const page = await open(`/?order=${id}&beat=1`, { scripts: false });
  await ended(page);
  await page.getByRole("link", { name: /Enrollments granted a seat/ }).last().click();
  await page.locator(".film-title").getByText("Enrollments granted a seat").waitFor();
  assertEquals(await page.locator(".order-row").count(), 1);
  await page.getByLabel("Status").selectOption("REFUNDED");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("No order matches.").waitFor();
});

test("with a token the page asks for it once, goes on where one was, and asks again when the cookie is lost", async ({ start, open, troubles }) => {
  const token = "a-token-of-the-test";
  const stack = await start({ OPS_TOKEN: token });
  const page = await open("/?tab=messages&list=done");
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${stack.url}/?tab=messages&list=done`);
  await goTo(page, "Orders");
  await page.getByRole("button", { name: "Order success" }).click();
  await ended(page);
  await page.locator(".live-live").waitFor();
  await page.context().clearCookies(); // lost: whatever is asked next leads to the form
  await goTo(page, "Messages");
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Token").waitFor();
  troubles.length = 0; // refusals are errors on its console
});

const FOCUSED =
  "(document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent ?? '').trim()";

/** The accessible words of what has the focus. */
const focused = async (page: Page) => String(await page.evaluate(FOCUSED));

/** Presses Tab until what has the focus reads so. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let presses = 0; presses < 200; presses++) {
    if (name.test(await focused(page))) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not come to ${name}`);
}
