/**
 * What an order waits for, and nothing else, one after the other in one process: five commits and three hops, each of
 * which is a publish with its confirm and its delivery.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { parseArgs } from "node:util";
import { connect } from "amqplib";
import postgres from "postgres";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { type Quantiles, quantiles } from "./load_report.ts";
import { eventsOfOrder } from "./order_events.ts";

/** All chains together have this long, in milliseconds. */
const LIMIT_MS = 120_000;
/** Chains before the first that counts. */
const WARM_UP = 20;

const flagsSchema = z.object({
  broker: z.string(),
  /** A database with the project's schema. */
  database: z.string(),
  /** A durable queue. */
  queue: z.string(),
  chains: z.coerce.number().int().min(1),
});

async function measure({ broker, database, queue, chains }: z.infer<typeof flagsSchema>): Promise<Quantiles> {
  const sql = postgres(database, { max: 1 });
  const publishing = await connect(broker, { noDelay: true });
  const consuming = await connect(broker, { noDelay: true });
  const out = await publishing.createConfirmChannel();
  const back = await consuming.createChannel();
  const body = Buffer.from(JSON.stringify(eventsOfOrder()[0]));
  let onDelivery = () => {};
  await out.assertQueue(queue, { durable: true, arguments: { "x-queue-type": "quorum" } });
  await back.consume(queue, (message) => {
    if (!message) throw new Error(`The queue ${queue} was deleted`);
    back.ack(message);
    onDelivery();
  });

  const commit = () =>
    sql`
    insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    values (${uuidv7()}, ${SCENARIO_USER}, ${RESERVED_COURSES.success}, '49.90', ${crypto.randomUUID()}, now(), now())`;
  const hop = async () => {
    const delivered = new Promise<void>((resolve) => onDelivery = resolve);
    const confirmed = new Promise<void>((resolve, reject) => {
      const properties = { persistent: true, contentType: "application/json", type: "order.created" };
      out.publish("", queue, body, properties, (error: unknown) => error ? reject(error) : resolve());
    });
    await Promise.all([delivered, confirmed]);
  };

  const took: number[] = [];
  for (let chain = -WARM_UP; chain < chains; chain++) {
    const startedMs = performance.now();
    for (const step of [commit, hop, commit, hop, commit, hop, commit, commit]) await step();
    if (chain >= 0) took.push(performance.now() - startedMs);
  }
  await Promise.all([publishing.close(), consuming.close(), sql.end({ timeout: 2 })]);
  return quantiles(took);
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      broker: { type: "string" },
      database: { type: "string" },
      queue: { type: "string" },
      chains: { type: "string" },
    },
  });
  const timer = setTimeout(() => {
    console.error(`The chains have not ended after ${LIMIT_MS} ms`);
    Deno.exit(1);
  }, LIMIT_MS);
  const chain = await measure(flagsSchema.parse(values));
  clearTimeout(timer);
  console.log(JSON.stringify(chain));
}
