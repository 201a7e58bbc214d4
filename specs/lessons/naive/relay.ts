// A relay in ten lines: claim, publish, mark, again and again until it is stopped. Lesson 2 runs it in the place of the
// real one, and says what it lacks.

import { Buffer } from "node:buffer";
import { connect } from "amqplib";
import postgres from "postgres";
import { readConfig } from "../../../shared/process/config.ts";

const { DATABASE_URL, AMQP_URL, RABBITMQ_EXCHANGE } = readConfig(
  ["DATABASE_URL", "AMQP_URL", "RABBITMQ_EXCHANGE"],
  (name) => Deno.env.get(name),
);
const sql = postgres(DATABASE_URL);
const channel = await (await connect(AMQP_URL)).createConfirmChannel();

while (true) {
  await sql.begin(async (sql) => {
    const events = await sql<{ id: string; type: string; payload: unknown }[]>`
      select id, type, payload from outbox_events where published_at is null
      order by id limit 100 for update skip locked`;
    for (const { type, payload } of events) {
      channel.publish(RABBITMQ_EXCHANGE, type, Buffer.from(JSON.stringify(payload)));
    }
    await channel.waitForConfirms();
    await sql`update outbox_events set published_at = now() where id = any(${events.map(({ id }) => id)})`;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
}
