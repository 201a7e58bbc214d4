/**
 * Prints confirmed publishes and deliveries per second through the stock client, the broker in a process of its
 * own; with the URL of another broker as its argument, those of that one too, and the ratio:
 *
 * `deno run --allow-net --allow-read --allow-run shared/embedded/amqp/broker_bench.ts [amqp://…]`
 *
 * @module
 */
import { connect } from "amqplib";
import { startAmqpBroker } from "./server.ts";

const MESSAGES = 60_000;
const ROUNDS = 3;
const BODY = Buffer.alloc(300, "x");

type Rates = { publishes: number; deliveries: number };

if (import.meta.main) {
  if (Deno.args[0] === "serve") console.log(startAmqpBroker().url);
  else await compare(Deno.args[0]);
}

async function compare(otherUrl: string | undefined): Promise<void> {
  const args = ["run", "--quiet", "--allow-net", "--allow-read", import.meta.filename ?? "", "serve"];
  const broker = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
  const lines = broker.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const url = (await lines.read()).value?.trim() ?? "";
  try {
    for (let round = 1; round <= ROUNDS; round++) {
      const own = await measure(url);
      print(`embedded, round ${round}`, own);
      if (!otherUrl) continue;
      const other = await measure(otherUrl);
      print(`the other, round ${round}`, other);
      const ratios = [own.publishes / other.publishes, own.deliveries / other.deliveries];
      console.log(`ratio: ${ratios.map((ratio) => ratio.toFixed(1)).join(" and ")}`);
    }
  } finally {
    broker.kill();
    await lines.cancel();
    await broker.status;
  }
}

function print(name: string, { publishes, deliveries }: Rates): void {
  console.log(
    `${name}: ${Math.round(publishes)} confirmed publishes/s, ${Math.round(deliveries)} deliveries/s`,
  );
}

async function measure(url: string): Promise<Rates> {
  const connection = await connect(url, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  await channel.bindQueue(queue, "amq.topic", "order.*");
  let started = performance.now();
  for (let sent = 0; sent < MESSAGES; sent += 1000) {
    for (let index = 0; index < 1000; index++) {
      channel.publish("amq.topic", "order.created", BODY, {
        messageId: `m-${sent + index}`,
        mandatory: true,
      });
    }
    await channel.waitForConfirms();
  }
  const publishes = MESSAGES / (performance.now() - started) * 1000;

  await channel.prefetch(500);
  started = performance.now();
  let received = 0;
  await new Promise<void>((resolve) => {
    channel.consume(queue, (message) => {
      if (!message) return;
      if (++received % 100 === 0) channel.ack(message, true);
      if (received === MESSAGES) resolve();
    });
  });
  const deliveries = MESSAGES / (performance.now() - started) * 1000;
  await connection.close();
  return { publishes, deliveries };
}
