import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { openPage, shareBrowser } from "./browser.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();
shareBrowser();

const PATIENCE_MS = 30_000;

Deno.test("the reference shows every operation and sends a request, and asks nobody else for anything", async () => {
  await using stack = await startStack({}, { apart: [], processes: ["api"] });
  const description = await fetch(`${stack.url}/openapi.json`);
  const { paths } = z.object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) })
    .parse(await description.json());
  const operations = Object.values(paths).flatMap((methods) => Object.keys(methods));
  assert(operations.length > 30, `${operations.length} operations`);

  await using opened = await openPage(`${stack.url}/docs`);
  const { page, troubles } = opened;
  await page.locator(".opblock").first().waitFor({ timeout: PATIENCE_MS });
  assertEquals(await page.locator(".opblock").count(), operations.length);
  assertEquals(await page.locator(".errors-wrapper").count(), 0);

  const order = page.locator("#operations-Orders-placeOrder");
  await order.locator(".opblock-summary-control").click();
  await order.getByRole("button", { name: "Try it out" }).click();
  await order.getByRole("button", { name: "Execute" }).click();
  await order.locator(".live-responses-table").getByText("201", { exact: true }).first().waitFor({
    timeout: PATIENCE_MS,
  });
  assertEquals(troubles, []);
});
