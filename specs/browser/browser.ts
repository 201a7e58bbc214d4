// Tests of the page in a real Chromium. What drives it is in `specs/browser/deno.lock` alone, and not in the project's:
// `deno task` installs all of that one before anything else, and nobody but these tests needs 18 MB of Playwright and axe.

import { assertEquals } from "@std/assert";
import { connect } from "amqplib";
import { Buffer } from "node:buffer";
import type * as playwright from "npm:playwright-core@1.65.1";
import { chromium } from "npm:playwright-core@1.65.1";
import { eventually } from "../support/eventually.ts";
import { call } from "../support/http.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack, type TestStack } from "../support/test_stack.ts";

export type Page = playwright.Page;

const PROGRAM = "/usr/bin/chromium";

/** As root, in a container and without a network beyond loopback. */
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** How long the page may take to show what has happened, in milliseconds, on a machine that is busy. */
export const PATIENCE_MS = 30_000;

let browser: playwright.Browser | undefined;

/** Call at the top of a test file: one browser and one database serve its tests. */
export function shareBrowser(): void {
  shareTestSchema();
  Deno.test.beforeAll(async () => {
    browser = await chromium.launch({ executablePath: Deno.env.get("CHROMIUM") ?? PROGRAM, args: FLAGS });
  });
  Deno.test.afterAll(async () => {
    await browser?.close();
    browser = undefined;
  });
}

/** How a page is opened: the size of its window in CSS pixels, whether it prefers dark colours, whether scripts run. */
interface Look {
  readonly width?: number;
  readonly height?: number;
  readonly dark?: boolean;
  readonly scripts?: boolean;
}

interface OnPage {
  /** Starts the system that all pages are of, in the test's own process where nothing else is said. */
  start(...how: Parameters<typeof startStack>): Promise<TestStack>;
  /** Opens a page of it in a browser profile of its own. */
  open(path?: string, look?: Look): Promise<Page>;
  /** Errors on a console, exceptions, requests to other hosts. What a test leaves here fails it. */
  readonly troubles: string[];
}

/** A test of the page, in a file that has called {@linkcode shareBrowser}. */
export function test(name: string, run: (on: OnPage) => Promise<void>): void {
  Deno.test(name, async () => {
    await using resources = new AsyncDisposableStack();
    const troubles: string[] = [];
    let baseURL = "";
    await run({
      troubles,
      async start(env = {}, options = { apart: [] }) {
        const stack = resources.use(await startStack(env, options));
        baseURL = stack.url;
        return stack;
      },
      async open(path = "/", { width = 1440, height = 900, dark = false, scripts = true } = {}) {
        if (!browser) throw new Error("Call shareBrowser() at the top of the test file");
        const context = await browser.newContext({
          baseURL,
          viewport: { width, height },
          colorScheme: dark ? "dark" : "light",
          javaScriptEnabled: scripts,
          permissions: ["clipboard-read", "clipboard-write"],
        });
        resources.defer(() => context.close());
        context.setDefaultTimeout(PATIENCE_MS);
        const page = await context.newPage();
        page.on("console", (message) => message.type() === "error" && troubles.push(message.text()));
        page.on("pageerror", (error) => troubles.push(error.message));
        page.on("request", (request) => {
          if (new URL(request.url()).host !== new URL(baseURL).host) troubles.push(`asked ${request.url()}`);
        });
        await page.goto(path);
        return page;
      },
    });
    assertEquals(troubles, []);
  });
}

/** Waits until the head of the selected order's story says that it has this status. */
export const ended = (page: Page, status = "COMPLETED") =>
  page.locator(".order-head .badge").getByText(status, { exact: true }).first().waitFor();

/** Opens the page's other view. */
export const goTo = (page: Page, view: "Orders" | "Messages") =>
  page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: view }).click();

/** Plays a scenario; answers with the order's id. */
export async function play({ url }: TestStack, scenario: string): Promise<string> {
  return (await call(url, `POST /ops/scenarios/${scenario}`)).id;
}

export async function completed(stack: TestStack): Promise<string> {
  const id = await eventually("an order", () => play(stack, "order-success"));
  await eventually("it to end", async () => {
    const [row] = await stack.db.sql`select status from orders where id = ${id}`;
    return row?.status === "COMPLETED";
  }, PATIENCE_MS);
  return id;
}

/** Waits until so many dead letters are to be decided on. */
export async function lettersAre(wanted: number, { db }: TestStack): Promise<void> {
  await eventually(`${wanted} dead letters`, async () => {
    const letters = await db.sql`select from dead_letters where state = 'OPEN'`;
    return letters.length === wanted;
  }, PATIENCE_MS);
}

/** Sends a message straight to the payments' queue. */
export async function sendToQueue({ broker }: TestStack, body: string): Promise<void> {
  const model = await connect(broker.url);
  const channel = await model.createConfirmChannel();
  channel.sendToQueue(broker.topology.queues.paymentsOrderCreated.name, Buffer.from(body));
  await channel.waitForConfirms();
  await model.close();
}
