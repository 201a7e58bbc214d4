// The way to the database: what the client (`npm:postgres` 3.4.9) gets for a socket. What passes is looked at message by
// message, by kind alone, because of what the client does not do:
//
// - It waits without end for the answer of a host that has died. Here a connection that owes one for too long is lost, and
//   with it all others to that server that were silent for as long.
// - It stays on a server that takes no writes. Here a connection that says so is lost, and the next server is tried.
// - It fails the statements of a lost connection before it knows that the connection is lost. One that follows at once is
//   sent into it and never settles, or settles with another one's rows; and the connection never greets a server again,
//   because its greeting waits behind what could not be sent. Here it hears of both in one turn, and we greet.
// - Rows before an error, or a loss, leave as many holes at the beginning of the next result, and an error before a loss is
//   told to the next statement. Here both are ended for it.
// - A connection that ends before it could be used, as behind a proxy whose database is away, it makes again 250 times a
//   second, while the statement waits. Here it has failed.

import { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";
import net from "node:net";
import tls from "node:tls";
import type { DatabaseServer, DatabaseTarget } from "../process/database_url.ts";

/** Kinds of messages (https://www.postgresql.org/docs/current/protocol-message-formats.html): the first byte of each. */
const kind = (letter: string) => letter.charCodeAt(0);
const [SYNC, QUERY] = [kind("S"), kind("Q")]; // from us
const [ROW, END, ERROR, READY, PARAMETER] = [kind("D"), kind("C"), kind("E"), kind("Z"), kind("S")]; // to us
const HEADER_BYTES = 5;
const IDLE = kind("I"); // what a server that is ready says of a session that is in no transaction
const END_OF_ROWS = Buffer.from("C\0\0\0\x06X\0");
const READY_IN_FAILED_TRANSACTION = Buffer.from("Z\0\0\0\x05E");
const TLS_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** What a server says of itself, or of a statement, when it takes no writes. */
const READ_ONLY = /(in_hot_standby|default_transaction_read_only)\0on\0|\0C25006\0/;

/** How often a connection is looked at, in milliseconds. */
const WATCH_MS = 250;
/** How long the server may take to let us in, in milliseconds. */
const LOGIN_MS = 4000;

/** The error of what was to be sent over a connection that is gone. */
export function connectionLost(message = "the connection was lost in the middle of the transaction"): Error {
  return Object.assign(new Error(message), { code: "CONNECTION_CLOSED" });
}

export type OpenSocket = () => EventEmitter;

/**
 * What has the client write its greeting at once: only what is longer than this waits for nothing (1,024 bytes). It is
 * dropped, with whatever was left before it.
 */
export const LONG_GREETING = { padding: " ".repeat(1024) } as const;

export interface Entrance {
  readonly target: DatabaseTarget;
  /** How long the server may owe an answer, in milliseconds: more than a statement may take. */
  readonly patienceMs: number;
  readonly parameters: () => Readonly<Record<string, string | number>>;
}

/**
 * Makes what opens a pool's sockets. After a try that failed it is the next server's turn; the client hears of it after the
 * last one.
 */
export function createSockets(entrance: Entrance): OpenSocket {
  const { servers } = entrance.target;
  let turn = 0;
  return () => {
    const own = turn;
    return openSocket(servers[own % servers.length] ?? servers[0], entrance, () => {
      turn = own + 1;
      return turn % servers.length !== 0;
    });
  };
}

interface Connection {
  readonly server: string;
  heardAtMs: number;
  readonly lose: (error: Error) => void;
}

/** Those of this process: what is found out on one is true of others. */
const connections = new Set<Connection>();
let patienceAtMostMs = Infinity;

/** Has no connection of this process owed an answer for longer than `ms` milliseconds any more: it is to end. */
export function losePatience(ms: number): void {
  patienceAtMostMs = ms;
}

function openSocket(
  server: DatabaseServer,
  { target, patienceMs, parameters }: Entrance,
  goesOn: () => boolean,
): EventEmitter {
  const name = "path" in server ? server.path : `${server.host}:${server.port}`;
  const client = new EventEmitter();
  let [isGreeted, isUp, isOver] = [false, false, false];
  let answersOwed = 1; // to the login
  let owedSinceMs: number | null = performance.now();
  const self: Connection = { server: name, heardAtMs: owedSinceMs, lose };
  const reader = createReader({
    pass: (bytes) => isUp || !isOver ? client.emit("data", bytes) : undefined,
    onReady() {
      isUp ||= !isOver;
      answersOwed--;
    },
    isAsked: () => answersOwed > 0,
    onReadOnly: () => lose(connectionLost(`${name} takes no writes: it is a standby, or read-only`)),
  });

  function watch(): void {
    const bound = Math.min(isUp ? patienceMs : LOGIN_MS, patienceAtMostMs);
    if (owedSinceMs === null || performance.now() - owedSinceMs < bound) return;
    const sinceMs = owedSinceMs;
    const isSilent = (one: Connection) => one !== self && one.server === name && one.heardAtMs <= sinceMs;
    const others = !isUp ? [] : [...connections].filter(isSilent);
    for (const one of [...others, self]) { // them first: what follows on our statements is not to be sent to them
      one.lose(connectionLost(`${name} has not answered for ${bound / 1000} s`));
    }
  }

  function lose(error: Error): void {
    if (isOver) return;
    isOver = true;
    clearInterval(watching);
    connections.delete(self);
    way.destroy();
    const isTold = isUp || !goesOn();
    const tell = () => {
      if (isTold) client.emit("error", error);
      client.emit("close", !isUp); // untold, the client has its statement wait, and tries again
    };
    setImmediate(() => { // not in the midst of what the client is doing
      if (isUp) reader.end();
      // A transaction whose statement has just failed sends a rollback: the client ends the process if it finds no socket.
      if (reader.isInTransaction()) setImmediate(tell);
      else tell();
    });
  }

  const watching = setInterval(watch, WATCH_MS);
  connections.add(self);
  const way = openWay(server, target.tls, {
    onData(bytes) {
      if (isOver) return;
      self.heardAtMs = performance.now();
      owedSinceMs = null;
      reader.read(bytes);
      if (answersOwed > 0) owedSinceMs ??= self.heardAtMs;
    },
    onDrain: () => client.emit("drain"),
    onEnd: (error) => lose(error ?? connectionLost(`${name} has ended the connection`)),
  });

  return Object.assign(client, {
    host: name, // for the client's errors
    readyState: "open", // it asks so as to say goodbye
    setKeepAlive: way.keepAlive,
    write(bytes: Buffer): boolean {
      if (isOver) return true;
      if (isUp) answersOwed += countAsked(bytes);
      owedSinceMs ??= performance.now();
      const isGreeting = !isGreeted;
      isGreeted = true;
      return way.write(isGreeting ? greetingOf(parameters()) : bytes);
    },
    end(bytes: Buffer): void {
      if (!isUp) return lose(connectionLost(`the connection to ${name} was given up`));
      clearInterval(watching); // a goodbye has no answer
      way.end(bytes);
    },
    destroy: () => lose(connectionLost(`the connection to ${name} was given up`)),
  });
}

function greetingOf(parameters: Readonly<Record<string, string | number>>): Buffer {
  const pairs = Object.entries(parameters).map(([name, value]) => `${name}\0${value}\0`);
  const greeting = Buffer.from(`\0\0\0\0\0\x03\0\0${pairs.join("")}\0`); // version 3.0
  greeting.writeUInt32BE(greeting.length);
  return greeting;
}

/** How many of the messages, which are whole, the server answers with being ready again. */
function countAsked(bytes: Buffer): number {
  let asked = 0;
  for (let at = 0; at < bytes.length; at += 1 + bytes.readUInt32BE(at + 1)) {
    if (bytes[at] === SYNC || bytes[at] === QUERY) asked++;
  }
  return asked;
}

/** Passes on what the server sends, with what is missing in it, and tells of what it means. */
function createReader({ pass, onReady, isAsked, onReadOnly }: {
  readonly pass: (bytes: Buffer) => void;
  readonly onReady: () => void;
  /** Whether a statement waits for its answer. */
  readonly isAsked: () => boolean;
  readonly onReadOnly: () => void;
}) {
  let parts: Buffer[] = []; // of a message that is not whole: what is begun could not be ended for the client
  let held = 0;
  let needed = HEADER_BYTES;
  let isInRows = false;
  let isInTransaction = false;
  let hasFailed = false; // a statement; an error may also come when there is none, at the end of a session

  function endRows(): void {
    if (isInRows) pass(END_OF_ROWS);
    isInRows = false;
  }

  /** Looks at the message that `chunk` has from `at` to `next`. */
  function look(chunk: Buffer, at: number, next: number): void {
    const type = chunk[at];
    if (type === ROW) isInRows = true;
    else if (type === END) isInRows = false;
    else if (type === READY) {
      hasFailed = false;
      isInTransaction = chunk[at + HEADER_BYTES] !== IDLE;
      onReady();
    } else if (type === ERROR || type === PARAMETER) {
      hasFailed ||= type === ERROR && isAsked();
      if (READ_ONLY.test(chunk.toString("latin1", at, next))) onReadOnly();
    }
  }

  return {
    read(bytes: Buffer): void {
      parts.push(bytes);
      held += bytes.length;
      if (held < needed) return;
      let chunk = parts.length > 1 ? Buffer.concat(parts) : bytes;
      let at = 0;
      needed = HEADER_BYTES;
      while (at + HEADER_BYTES <= chunk.length) {
        const next = at + 1 + chunk.readUInt32BE(at + 1);
        if (next > chunk.length) {
          needed = next - at;
          break;
        }
        if (chunk[at] === ERROR && isInRows) {
          pass(chunk.subarray(0, at));
          endRows();
          chunk = chunk.subarray(at);
          at = 0;
        } else {
          look(chunk, at, next);
          at = next;
        }
      }
      parts = at < chunk.length ? [chunk.subarray(at)] : [];
      held = chunk.length - at;
      if (at > 0) pass(chunk.subarray(0, at));
    },
    isInTransaction: () => isInTransaction,
    /** Ends what the server has begun. */
    end(): void {
      endRows();
      if (hasFailed) pass(READY_IN_FAILED_TRANSACTION);
    },
  };
}

/** Connects, with TLS where `mode` says so; what is written before that is done waits. */
function openWay(server: DatabaseServer, mode: DatabaseTarget["tls"], { onData, onDrain, onEnd }: {
  readonly onData: (bytes: Buffer) => void;
  readonly onDrain: () => void;
  readonly onEnd: (error?: Error) => void;
}) {
  const socket = new net.Socket();
  const waiting: Buffer[] = [];
  let way: net.Socket | null = null;

  function use(ready: net.Socket): void {
    way = ready.on("data", onData).on("drain", onDrain);
    for (const bytes of waiting) way.write(bytes);
  }

  function secure(answer: Buffer): void {
    const isOffered = answer.toString() === "S"; // and nothing behind it: that would not be from the server
    if (!isOffered && mode === "if offered") return use(socket);
    if (!isOffered) return onEnd(connectionLost("the server has no TLS, and sslmode asks for it"));
    const host = "host" in server ? server.host : "";
    use(
      tls.connect({
        socket,
        host,
        ...net.isIP(host) ? {} : { servername: host },
        rejectUnauthorized: mode === "verified",
      }).on("error", onEnd).on("close", () => onEnd()),
    );
  }

  socket.on("error", onEnd).on("close", () => onEnd());
  if (mode === "off") use(socket);
  else socket.once("connect", () => socket.write(TLS_REQUEST)).once("data", secure);
  try {
    socket.connect({ ...server });
  } catch (error) { // a socket of Unix that this process may not use
    queueMicrotask(() => onEnd(error instanceof Error ? error : undefined));
  }
  return {
    write(bytes: Buffer): boolean {
      if (way) return way.write(bytes);
      waiting.push(bytes);
      return true;
    },
    end: (bytes: Buffer) => void way?.end(bytes, () => way?.destroy()),
    destroy: () => void (way ?? socket).destroy(),
    keepAlive: (isOn: boolean, afterMs: number) => void socket.setKeepAlive(isOn, afterMs),
  };
}
