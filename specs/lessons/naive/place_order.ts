// How an order must not be placed: two writes, one after the other. Lesson 1 runs it, with `--die` so that it dies between
// them. It prints the order's id.

import { Buffer } from "node:buffer";
import { connect } from "amqplib";
import postgres from "postgres";
import { v7 as uuidv7 } from "uuid";
import { readConfig } from "../../../shared/process/config.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../../shared/scenarios.ts";

const { DATABASE_URL, AMQP_URL, RABBITMQ_EXCHANGE } = readConfig(
  ["DATABASE_URL", "AMQP_URL", "RABBITMQ_EXCHANGE"],
  (name) => Deno.env.get(name),
);
const sql = postgres(DATABASE_URL);
const broker = await connect(AMQP_URL);
const channel = await broker.createConfirmChannel();

const order = { id: uuidv7(), userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };
console.log(order.id);

await sql`
  insert into orders (id, user_id, course_id, amount, status, correlation_id, created_at, updated_at)
  values (${order.id}, ${order.userId}, ${order.courseId}, ${order.amount}, 'PENDING', 'naive', now(), now())`;

if (Deno.args.includes("--die")) Deno.exit(137); // a deploy, a full memory, a power cut

const { id: orderId, ...data } = order;
const event = {
  eventId: uuidv7(),
  type: "order.created",
  version: 1,
  occurredAt: new Date(),
  correlationId: "naive",
  data: { orderId, ...data },
};
channel.publish(RABBITMQ_EXCHANGE, event.type, Buffer.from(JSON.stringify(event)));
await channel.waitForConfirms();

await broker.close();
await sql.end();
