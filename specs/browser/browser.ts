/**
 * A real Chromium, for tests of the page. What drives it is in `specs/browser/deno.lock` alone, and not in the project's:
 * `deno task` installs all of that one before anything else, and nobody but these tests needs 18 MB of Playwright and axe.
 *
 * @module
 */
import type * as playwright from "npm:playwright-core@1.65.1";
import { chromium } from "npm:playwright-core@1.65.1";

/** A page of the browser, as the client has it. */
export type Page = playwright.Page;

/** A profile of the browser, as the client has it. */
export type BrowserContext = playwright.BrowserContext;

/** The browser's program, unless `CHROMIUM` names another one. */
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

let browser: playwright.Browser | undefined;

/** Call at the top of a test file: one browser serves its tests. */
export function shareBrowser(): void {
  Deno.test.beforeAll(async () => {
    browser = await chromium.launch({ executablePath: Deno.env.get("CHROMIUM") ?? PROGRAM, args: FLAGS });
  });
  Deno.test.afterAll(async () => {
    await browser?.close();
    browser = undefined;
  });
}

/** How a page is opened. */
export interface PageOptions {
  /** Its width in CSS pixels; 1440 unless told. */
  readonly width?: number;
  /** Its height; 900 unless told. */
  readonly height?: number;
  /** Whether it prefers dark colours; light unless told. */
  readonly dark?: boolean;
  /** Whether scripts run; they do unless told. */
  readonly scripts?: boolean;
}

/** An open page, in a browser profile of its own. */
export interface TestPage extends AsyncDisposable {
  /** The page. */
  readonly page: Page;
  /** Its profile: cookies, further tabs. */
  readonly context: BrowserContext;
  /** What went wrong on it so far: errors on its console, exceptions, requests to other hosts. */
  readonly troubles: readonly string[];
}

/**
 * Opens `url` in a new profile.
 *
 * Errors: when the file has not called {@linkcode shareBrowser}.
 */
export async function openPage(url: string, options: PageOptions = {}): Promise<TestPage> {
  if (!browser) throw new Error("Call shareBrowser() at the top of the test file");
  const { width = 1440, height = 900, dark = false, scripts = true } = options;
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    javaScriptEnabled: scripts,
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await context.newPage();
  const troubles: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") troubles.push(message.text());
  });
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host) troubles.push(`asked ${request.url()}`);
  });
  await page.goto(url);
  return { page, context, troubles, [Symbol.asyncDispose]: () => context.close() };
}
