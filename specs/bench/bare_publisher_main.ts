/**
 * The baseline of the relay: publishes the bodies that are in an outbox through amqplib alone, with streamed confirms.
 * No claim, no mark, and everything is in memory before the clock starts.
 *
 * `--database=<postgres URL> --broker=<amqp URL> --exchange=<name> --window=<messages in flight>`; prints what
 * `publishReportSchema` says.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { parseArgs } from "node:util";
import { type ConfirmChannel, connect as connectBroker } from "amqplib";
import { z } from "zod";
import { connect as connectDatabase } from "../../shared/sql/connect.ts";
import type { PublishReport } from "./publish_report.ts";

const flagsSchema = z.object({
  database: z.string().min(1),
  broker: z.string().min(1),
  exchange: z.string().min(1),
  window: z.coerce.number().int().min(1),
});

if (import.meta.main) console.log(JSON.stringify(await main(Deno.args)));

async function main(args: readonly string[]): Promise<PublishReport> {
  const option = { type: "string" } as const;
  const { values } = parseArgs({
    args: [...args],
    options: { database: option, broker: option, exchange: option, window: option },
  });
  const { database, broker, exchange, window } = flagsSchema.parse(values);
  const messages = await readMessages(database);
  const model = await connectBroker(broker, { noDelay: true });
  const channel = await model.createConfirmChannel();
  const before = process.cpuUsage();
  const startedMs = performance.now();
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  model.on("blocked", (reason) => reject(new Error(`the broker takes no more messages: ${reason}`)));
  await Promise.race([publishAll(channel, exchange, messages, window), stopped]);
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(before);
  await model.close();
  return {
    messages: messages.length,
    seconds,
    perSecond: messages.length / seconds,
    cpuShare: (user + system) / 1e6 / seconds,
  };
}

interface Message {
  readonly type: string;
  readonly body: Buffer;
  readonly properties: Parameters<ConfirmChannel["publish"]>[3];
}

/** Every event of the outbox, in the order and with the properties that the relay sends it with. */
async function readMessages(database: string): Promise<Message[]> {
  const sql = connectDatabase(database, { name: "bench", role: null, max: 1 });
  const rows = await sql<
    {
      id: string;
      type: string;
      correlationId: string;
      traceparent: string | null;
      occurredAt: Date;
      body: string;
    }[]
  >`
    select id, type, correlation_id as "correlationId", traceparent, occurred_at as "occurredAt",
           payload::text as body
    from outbox_events order by id`;
  await sql.end();
  return rows.map(({ id, type, correlationId, traceparent, occurredAt, body }) => ({
    type,
    body: Buffer.from(body),
    properties: {
      persistent: true,
      mandatory: true,
      contentType: "application/json",
      messageId: id,
      type,
      correlationId,
      timestamp: Math.floor(occurredAt.getTime() / 1000),
      headers: { traceparent },
    },
  }));
}

/** Publishes all, never more than `window` without their confirms. Rejects when one is nacked or the channel closes. */
function publishAll(
  channel: ConfirmChannel,
  exchange: string,
  messages: readonly Message[],
  window: number,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  channel.on("return", () => reject(new Error(`no queue is bound to the exchange "${exchange}"`)));
  let sent = 0;
  let confirmed = 0;
  const onConfirm = (error: Error | null) => {
    if (error) return reject(error);
    confirmed++;
    if (confirmed === messages.length) resolve();
    else send();
  };
  const send = () => {
    while (sent < messages.length && sent - confirmed < window) {
      const message = messages[sent++]!;
      channel.publish(exchange, message.type, message.body, message.properties, onConfirm);
    }
  };
  if (messages.length === 0) resolve();
  send();
  return promise;
}
