import { AmqpError } from "./amqp_error.ts";
import { createBroker } from "./broker.ts";
import { createConnection, forceClose, runConnection } from "./connection.ts";
import { setMemoryAlarm } from "./connection_frames.ts";
import type { Connection, ConnectionEvent, ConnectionLimits } from "./connection_state.ts";
import { createMemoryGauge } from "./memory_gauge.ts";
import { deleteQueue } from "./topology.ts";

/** What the embedded broker tells a log. */
export type AmqpBrokerEvent =
  | ConnectionEvent
  | { readonly type: "memory alarm"; readonly raised: boolean; readonly usedBytes: number };

/** How to start the broker; everything has a default. */
export type AmqpBrokerOptions = {
  /** Where to listen; default "127.0.0.1". Passwords are not checked: keep to the loopback interface. */
  hostname?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Bytes of messages, overhead included, above which publishers must wait; default 128 MiB. */
  maxMemoryBytes?: number;
  /** Open connections at most; default 1,000. */
  maxConnections?: number;
  /** How long a client may take to connect, in milliseconds; default 10,000. */
  handshakeTimeoutMs?: number;
  /** Seconds between heartbeats that clients are offered; default 60. */
  heartbeatSeconds?: number;
  /** Called for what happens to connections and to memory. */
  log?: (event: AmqpBrokerEvent) => void;
};

/** A running broker. */
export type AmqpBroker = {
  /** What a client connects to, user and virtual host included. */
  readonly url: string;
  readonly port: number;
  /** Closes every connection (320 CONNECTION_FORCED) and the listener; may be called again. */
  stop(): Promise<void>;
};

const MIB = 1024 * 1024;

/**
 * Starts an AMQP 0-9-1 broker in this process, which serves stock clients over TCP and keeps everything in
 * memory: for development and tests, where no RabbitMQ is installed. It behaves as RabbitMQ does, except for
 * what it refuses with 540 NOT_IMPLEMENTED: transactions, headers and alternate exchanges, priorities, streams.
 *
 * The SASL PLAIN handshake is accepted with any password: listen on the loopback interface only.
 *
 * Throws `Deno.errors.AddrInUse` when the port is taken.
 */
export function startAmqpBroker(options: AmqpBrokerOptions = {}): AmqpBroker {
  const { hostname = "127.0.0.1", maxMemoryBytes = 128 * MIB, maxConnections = 1000, log = () => {} } =
    options;
  const connections = new Set<Connection>();
  const memory = createMemoryGauge(maxMemoryBytes, (raised) => {
    log({ type: "memory alarm", raised, usedBytes: memory.usedBytes() });
    for (const connection of connections) setMemoryAlarm(connection, raised);
  });
  const broker = createBroker(memory, {
    queues: 10_000,
    exchanges: 1_000,
    bindings: 50_000,
    consumersPerChannel: 1_000,
    messageBytes: Math.min(16 * MIB, maxMemoryBytes),
  });
  const limits: ConnectionLimits = {
    frameMax: 128 * 1024,
    channelMax: 2047,
    heartbeatSeconds: options.heartbeatSeconds ?? 60,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 10_000,
    closeTimeoutMs: 1_000,
  };
  const listener = Deno.listen({ hostname, port: options.port ?? 0 });
  const { port } = listener.addr;
  const running = new Set<Promise<void>>();

  function admit(): void {
    const open = [...connections].filter((connection) => connection.stage === "running").length;
    if (open < maxConnections) return;
    throw new AmqpError(530, `access to vhost '/' refused: connection limit (${maxConnections}) is reached`);
  }

  function serve(socket: Deno.TcpConn): void {
    // As many again may be shaking hands or closing; beyond that there is no telling them why.
    if (connections.size >= maxConnections * 2) return socket.close();
    socket.setNoDelay(true);
    const connection = createConnection(socket, broker, limits, admit, log);
    connections.add(connection);
    const run = runConnection(connection).finally(() => {
      connections.delete(connection);
      running.delete(run);
    });
    running.add(run);
  }

  const accepting = acceptSockets(listener, serve);
  let stopping: Promise<void> | undefined;

  async function stop(): Promise<void> {
    listener.close();
    await accepting;
    for (const connection of connections) forceClose(connection);
    await Promise.all(running);
    for (const queue of [...broker.queues.values()]) deleteQueue(broker, queue);
  }

  return { url: `amqp://guest:guest@${hostname}:${port}`, port, stop: () => stopping ??= stop() };
}

/** After a failed accept (no file descriptors left, say): long enough not to spin, short enough not to matter. */
const ACCEPT_RETRY_MS = 50;

/** Accepts until the listener is closed. */
async function acceptSockets(
  listener: Deno.TcpListener,
  serve: (socket: Deno.TcpConn) => void,
): Promise<void> {
  for (;;) {
    try {
      serve(await listener.accept());
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
      await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
    }
  }
}
