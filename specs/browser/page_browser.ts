import { assert, assertEquals, assertMatch } from "@std/assert";
import { openPage, type Page, shareBrowser } from "./browser.ts";
import { completed, PATIENCE_MS, play } from "./stacks.ts";
import { eventually } from "../support/eventually.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();
shareBrowser();

Deno.test("the film goes beat by beat, by buttons, keys and address, and plays slowly", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  // Now and then a consumer is quicker than the note of the broker's confirm; here it is not.
  await stack.db.sql`update outbox_events set published_at = occurred_at where order_id = ${id}`;
  await using opened = await openPage(`${stack.url}/?order=${id}&beat=2`);
  const { page, troubles } = opened;
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
  await title.getByText("The relay published order.created").waitFor({ timeout: PATIENCE_MS });
  await page.getByRole("button", { name: "Pause" }).click();
  const shared = page.url();
  await page.goto(stack.url);
  await page.goto(shared);
  await title.getByText("The relay published order.created").waitFor();
  assertEquals(troubles, []);
});

Deno.test("the machine is drawn with its arrows at every width, and says what each queue is bound to", async () => {
  await using stack = await startStack({}, { apart: [] });
  for (const width of [1440, 1024, 700, 390]) {
    await using opened = await openPage(stack.url, { width });
    const { page, troubles } = opened;
    const drawing = page.locator(".machine svg[viewBox]:visible");
    assertEquals(await drawing.count(), 1, `${width} px`);
    const edges = await drawing.locator(".edge[marker-end]").count();
    assertEquals(
      [edges, await drawing.getByText("refund.requested", { exact: true }).count()],
      [21, 1],
      `${width} px`,
    );
    assertEquals(troubles, []);
  }
});

Deno.test("holds stop an order at a part of the machine, and steps let it through, one event at a time", async () => {
  await using stack = await startStack({ FAULTS_ENABLED: "true" }, { apart: [] });
  await completed(stack);
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  const holds = page.getByRole("group", { name: "Breakpoints" });
  const hold = async (part: string) => {
    await holds.getByLabel("What to hold").selectOption(part);
    await holds.getByRole("button", { name: "Hold", exact: true }).click();
    await holds.getByRole("button", { name: new RegExp(`^Resume ${part}`) }).waitFor({
      timeout: PATIENCE_MS,
    });
  };
  const node = (text: string) => page.locator(".machine svg:visible .node.held").filter({ hasText: text });
  await hold("The relay");
  await node("Relay").waitFor();
  await page.locator(".health").getByText(/The relay is held until/).waitFor();
  await page.getByRole("button", { name: "Order success" }).click();
  const rows = page.locator(".story-rows li");
  await page.locator(".order-head").getByText(/below the diagram/).waitFor({ timeout: PATIENCE_MS }); // why not yet
  assertEquals(await rows.allTextContents().then((all) => all.length), 1);

  await hold("payments.order-created, before its commit"); // where one can stop inside of it
  await holds.getByRole("button", { name: /^Step.*The relay/ }).click();
  await rows.getByText("The relay published order.created").waitFor({ timeout: PATIENCE_MS });
  await node("payments").waitFor();
  assertEquals(await rows.getByText("Payments charged the card").count(), 0);
  await holds.getByRole("button", { name: /^Resume payments/ }).click();
  await rows.getByText("Payments charged the card").waitFor({ timeout: PATIENCE_MS });
  assertEquals(await rows.getByText("The relay published payment.succeeded").count(), 0);

  await holds.getByRole("button", { name: "Resume The relay" }).click();
  await page.locator(".order-head .badge").getByText("COMPLETED", { exact: true }).first().waitFor({
    timeout: PATIENCE_MS,
  });
  await node("Relay").waitFor({ state: "detached" });
  assertEquals(troubles, []);
});

Deno.test("one sentence says what is wrong, on every view, and the auditor's findings stand behind it", async () => {
  await using stack = await startStack({}, { apart: ["outbox-relay"] });
  await completed(stack);
  await using opened = await openPage(`${stack.url}/?tab=messages`);
  const { page, troubles } = opened;
  const health = page.locator(".health");
  await health.getByText("Every part runs, every promise holds").waitFor({ timeout: PATIENCE_MS });
  await stack.stop("outbox-relay");
  await health.getByText(/The relay is (not running|silent)/).waitFor({ timeout: PATIENCE_MS });
  await page.getByRole("link", { name: "Orders", exact: true }).click();
  await health.getByText(/The relay is (not running|silent)/).waitFor();
  await page.locator(".machine svg:visible .node.bad").getByText("Relay").waitFor();
  await health.click();
  await page.getByRole("dialog").getByText("The auditor's findings").waitFor();
  assertEquals(troubles, []);
});

Deno.test("what happens elsewhere is seen in every tab, without a reload", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(stack.url);
  const second = await opened.context.newPage();
  await second.goto(`${stack.url}/?tab=messages`);
  const id = await completed(stack);
  await opened.page.locator(".order-row").filter({ hasText: id.slice(-4) }).getByText("COMPLETED").waitFor({
    timeout: PATIENCE_MS,
  });
  await second.getByRole("link", { name: "enrollment.granted" }).first().waitFor({ timeout: PATIENCE_MS });
  assertEquals(opened.troubles, []);
});

Deno.test("a page whose server goes says so, dims what it had, and comes back by itself", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(`${stack.url}/?order=${id}`);
  const { page } = opened;
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  await stack.stop("api");
  await page.locator(".health").getByText("Disconnected").waitFor({ timeout: PATIENCE_MS });
  await page.locator(".is-stale").getByText("Payments charged the card").last().waitFor(); // still readable
  stack.start("api");
  await page.getByText("Connected again").waitFor({ timeout: PATIENCE_MS });
  const later = await completed(stack);
  await page.locator(".order-row").filter({ hasText: later.slice(-4) }).waitFor({ timeout: PATIENCE_MS });
});

Deno.test("the keyboard is enough: a scenario played, stepped through, and a message opened and closed", async () => {
  await using stack = await startStack({}, { apart: [] });
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  await page.keyboard.press("Tab");
  assertMatch(await focused(page), /^Skip to the /);
  await tabTo(page, /^Order success/);
  await page.keyboard.press("Enter");
  await page.locator(".order-head .badge").getByText("COMPLETED", { exact: true }).first().waitFor({
    timeout: PATIENCE_MS,
  });
  await page.keyboard.press("ArrowRight"); // which also stops the film
  await tabTo(page, /^Show the message/);
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText("Where it has been").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assertEquals(troubles, []);
});

Deno.test("the URL holds the view: shared, it shows the same; the back button goes back", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await play(stack, "payment-failure");
  await using opened = await openPage(stack.url);
  const { page, troubles } = opened;
  await page.locator(".order-row").filter({ hasText: id.slice(-4) }).click();
  await page.locator(".order-head").waitFor();
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Messages" }).click();
  await page.getByRole("link", { name: "Done" }).click();
  await page.getByText(/effect and its inbox row/).waitFor();
  const shared = page.url();
  await page.goBack();
  await page.goBack();
  await page.locator(".order-head").getByText("COMPLETED").first().waitFor(); // read again: the page came with no order
  await page.goBack();
  await page.getByText("Place an order, and watch it go through the machine").waitFor();
  await page.getByLabel("Status").selectOption("PAYMENT_FAILED");
  await eventually("the list to be filtered", async () => await page.locator(".order-row").count() === 1);
  assertMatch(page.url(), /status=PAYMENT_FAILED/);
  await page.goto(shared);
  await page.getByText(/effect and its inbox row/).waitFor();
  assertEquals(troubles, []);
});

Deno.test("without scripts the orders, their filters and a film can be read", async () => {
  await using stack = await startStack({}, { apart: [] });
  const id = await completed(stack);
  await using opened = await openPage(`${stack.url}/?order=${id}&beat=1`, { scripts: false });
  const { page } = opened;
  await page.locator(".order-head .badge").getByText("COMPLETED", { exact: true }).first().waitFor();
  await page.getByRole("link", { name: /Enrollments granted a seat/ }).last().click();
  await page.locator(".film-title").getByText("Enrollments granted a seat").waitFor();
  assertEquals(await page.locator(".order-row").count(), 1);
  await page.getByLabel("Status").selectOption("REFUNDED");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("No order matches.").waitFor();
});

Deno.test("with a token the page asks for it once, goes on where one was, and keeps a cookie that no script can read", async () => {
  const token = "a-token-of-the-test";
  await using stack = await startStack({ OPS_TOKEN: token }, { apart: [] });
  await using opened = await openPage(`${stack.url}/?tab=messages&list=done`);
  const { page, context } = opened;
  await page.getByLabel("Token").fill("something else entirely");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("That is not the token").waitFor();
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${stack.url}/?tab=messages&list=done`);
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Orders" }).click();
  await page.getByRole("button", { name: "Order success" }).click();
  await page.locator(".order-head .badge").getByText("COMPLETED", { exact: true }).first().waitFor({
    timeout: PATIENCE_MS,
  });
  await page.locator(".live-live").waitFor({ timeout: PATIENCE_MS });
  const [cookie] = await context.cookies();
  assertEquals([cookie?.httpOnly, cookie?.sameSite], [true, "Strict"]);
  assert(!cookie?.value.includes(token));
  const stranger = await fetch(`${stack.url}/ops/debug`);
  await stranger.body?.cancel();
  assertEquals(stranger.status, 401);

  await context.clearCookies(); // lost: whatever is asked next leads to the form
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: "Messages" }).click();
  await page.getByLabel("Token").fill(token, { timeout: PATIENCE_MS });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Token").waitFor();
});

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
