/**
 * Load on a running system: creates orders, waits until all of them have ended, and says how fast that was.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { isFinal, ORDER_STATUSES } from "../shared/order_status.ts";
import { eventually } from "./support/eventually.ts";
import { placeOrders } from "./support/place_orders.ts";

const pageSchema = z.object({
  orders: z.array(z.object({ id: z.string(), status: z.enum(ORDER_STATUSES) })),
  nextCursor: z.string().nullable(),
});

/** How many of the newest `count` orders have not ended, 100 at a time. */
async function unfinished(url: string, count: number): Promise<number> {
  let open = 0;
  for (let cursor: string | null = "", seen = 0; cursor !== null && seen < count;) {
    const response = await fetch(`${url}/orders?limit=100${cursor && `&cursor=${cursor}`}`);
    const page = pageSchema.parse(await response.json());
    open += page.orders.filter(({ status }) => !isFinal(status)).length;
    seen += page.orders.length;
    cursor = page.nextCursor;
  }
  return open;
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      url: { type: "string", default: "http://127.0.0.1:8000" },
      orders: { type: "string", default: "2000" },
      connections: { type: "string", default: "16" },
    },
  });
  const { url } = values;
  const orders = z.coerce.number().int().min(1).max(1_000_000).parse(values.orders);
  const connections = z.coerce.number().int().min(1).max(1000).parse(values.connections);
  const startedAt = performance.now();
  const load = await placeOrders(url, { orders, connections });
  const [perSecond, p50, p99] = [load.perSecond.toFixed(0), load.p50.toFixed(1), load.p99.toFixed(1)];
  console.log(
    `${orders} orders over ${connections} connections: ${perSecond}/s, p50 ${p50} ms, p99 ${p99} ms`,
  );
  await eventually("all orders to end", async () => await unfinished(url, orders) === 0, 300_000);
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(
    `all ended after ${seconds.toFixed(2)} s: ${(orders / seconds).toFixed(0)} orders/s from POST to the end`,
  );
}
