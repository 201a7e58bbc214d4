import { createBroker, deleteQueue } from "./broker.ts";
import { type Connection, type ConnectionEvent, forceClose, serveConnection } from "./connection.ts";
import type { MemoryGauge } from "./message.ts";

export type AmqpBrokerEvent =
  | ConnectionEvent
  | { readonly type: "memory alarm"; readonly raised: boolean; readonly usedBytes: number };

const DEFAULTS = {
  /** Where to listen. */
  hostname: "127.0.0.1",
  /** 0: any free one. */
  port: 0,
  /** Who may log in; "guest" and "guest" on a loopback address only. */
  user: "guest",
  password: "guest",
  /** Bytes of messages, overhead included, above which publishers must wait. */
  maxMemoryBytes: 128 * 1024 * 1024,
  maxConnections: 1000,
  /** How long a client may take to connect. */
  handshakeTimeoutMs: 10_000,
  /** Seconds between heartbeats that clients are offered. */
  heartbeatSeconds: 60,
  /** Called for what happens to connections and to memory. */
  log(_event: AmqpBrokerEvent): void {},
};

export type AmqpBrokerOptions = Partial<typeof DEFAULTS>;

export type AmqpBroker = {
  /** What a client connects to, user and password included. */
  readonly url: string;
  readonly port: number;
  /** Closes every connection (320 CONNECTION_FORCED) and the listener; may be called again. */
  stop(): Promise<void>;
};

/** After a failed accept (no file descriptors left, say): long enough not to spin, short enough not to matter. */
const ACCEPT_RETRY_MS = 50;

/**
 * Starts an AMQP 0-9-1 broker in this process, which serves stock clients over TCP and keeps everything in memory: for
 * development and tests, where no RabbitMQ is installed. What it serves, it does as RabbitMQ 4 does; what it does not serve
 * it refuses with 540 NOT_IMPLEMENTED (README.md).
 *
 * Errors: `Deno.errors.AddrInUse` when the port is taken; `TypeError` without a password on an address that others reach.
 */
export function startAmqpBroker(options: AmqpBrokerOptions = {}): AmqpBroker {
  const settings = { ...DEFAULTS, ...options };
  const { hostname, user, password, maxConnections, log } = settings;
  if (options.password === undefined && !/^(127\..*|::1|localhost)$/.test(hostname)) {
    throw new TypeError(
      `Cannot listen on ${hostname} with the password that everybody knows: give another one`,
    );
  }
  const connections = new Set<Connection>();
  const running = new Set<Promise<void>>();
  const memory: MemoryGauge = {
    used: 0,
    raised: false,
    limit: settings.maxMemoryBytes,
    onChange() {
      const { raised, used: usedBytes } = memory;
      log({ type: "memory alarm", raised, usedBytes });
      if (!raised) connections.forEach((connection) => connection.resume());
    },
  };
  const broker = createBroker(memory);
  const host = { ...settings, broker, connections };
  const listener = Deno.listen({ hostname, port: settings.port });
  const { port } = listener.addr;

  async function acceptUntilClosed(): Promise<void> {
    for (;;) {
      try {
        const socket = await listener.accept();
        // As many again may be shaking hands or closing; beyond that there is no telling them why.
        if (running.size >= maxConnections * 2) {
          socket.close();
          continue;
        }
        socket.setNoDelay(true);
        const run = serveConnection(host, socket).finally(() => running.delete(run));
        running.add(run);
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  const accepting = acceptUntilClosed();
  let stopping: Promise<void> | undefined;

  async function stop(): Promise<void> {
    listener.close();
    await accepting;
    for (const connection of connections) forceClose(connection);
    await Promise.all(running);
    for (const queue of [...broker.queues.values()]) deleteQueue(broker, queue);
  }

  const credentials = [user, password].map(encodeURIComponent).join(":");
  return { url: `amqp://${credentials}@${hostname}:${port}`, port, stop: () => stopping ??= stop() };
}
