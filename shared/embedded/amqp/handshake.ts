import { timingSafeEqual } from "node:crypto";
import { AmqpError } from "./bytes.ts";
import type { Field, FieldTable } from "./field_table.ts";
import type { MethodArguments } from "./methods.ts";

/** Who may log in, to the virtual host `/`. */
export type Credentials = { readonly user: string; readonly password: string };

/** What a connection may take: bytes of a frame (overhead included), channels, seconds between heartbeats. */
export type Limits = {
  readonly frameMax: number;
  readonly channelMax: number;
  readonly heartbeatSeconds: number;
};

/** What a client opens the conversation with: `AMQP`, 0, 0, 9, 1 (section 4.2.2). */
export const PROTOCOL_HEADER = new Uint8Array([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);

/** What RabbitMQ 4 answers anything else with, before it hangs up: the header of AMQP 1.0 over SASL. */
export const HEADER_ANSWER = new Uint8Array([0x41, 0x4d, 0x51, 0x50, 3, 1, 0, 0]);

/** The smallest frame-max that both sides must accept (section 4.9, constant frame-min-size). */
const FRAME_MIN_SIZE = 4096;

const CAPABILITIES = [
  "publisher_confirms",
  "basic.nack",
  "consumer_cancel_notify",
  "connection.blocked",
  "authentication_failure_close",
  "per_consumer_qos",
];

/** The broker's first word, `connection.start`. */
export const START: MethodArguments<"connection.start"> = {
  versionMajor: 0,
  versionMinor: 9,
  serverProperties: new Map<string, Field>([
    ["capabilities", new Map(CAPABILITIES.map((name) => [name, true]))],
    ["product", "Embedded AMQP broker"],
    ["version", "1.0.0"],
    ["platform", "Deno"],
    ["information", "In memory, for development and tests; answers as RabbitMQ 4 does"],
  ]),
  mechanisms: "PLAIN",
  locales: "en_US",
};

/**
 * The user of `connection.start-ok`, whose response is `[authzid] NUL user NUL password` (RFC 4616).
 *
 * Errors: `AmqpError` 403 on another mechanism than PLAIN, and on another user or password than those of `credentials`.
 */
export function logIn(
  { mechanism, response }: MethodArguments<"connection.start-ok">,
  { user, password }: Credentials,
): string {
  if (mechanism !== "PLAIN") {
    throw new AmqpError(403, `authentication mechanism '${mechanism}' is not served, only PLAIN`);
  }
  const encoder = new TextEncoder();
  const given = encoder.encode(response.slice(response.indexOf("\0")));
  const wanted = encoder.encode(`\0${user}\0${password}`);
  if (given.byteLength === wanted.byteLength && timingSafeEqual(given, wanted)) return user;
  throw new AmqpError(
    403,
    "Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
  );
}

/** The names that the client's properties list under `capabilities`. */
export function clientCapabilities(properties: FieldTable): ReadonlySet<string> {
  const listed = properties.get("capabilities");
  return new Set(listed instanceof Map ? [...listed.keys()].filter((name) => listed.get(name) === true) : []);
}

/** What the client's `connection.tune-ok` leaves of the limits; its zeros mean "yours". Errors: `AmqpError` 530. */
export function negotiate({ frameMax, channelMax }: MethodArguments<"connection.tune-ok">, limits: Limits) {
  const agreed = {
    frameMax: atMost("frame_max", frameMax, limits.frameMax),
    channelMax: atMost("channel_max", channelMax, limits.channelMax),
  };
  if (agreed.frameMax >= FRAME_MIN_SIZE) return agreed;
  throw new AmqpError(
    530,
    `negotiated frame_max = ${frameMax} is lower than the minimum allowed value (${FRAME_MIN_SIZE})`,
  );
}

function atMost(name: string, wanted: number, most: number): number {
  if (wanted <= most) return wanted || most;
  throw new AmqpError(
    530,
    `negotiated ${name} = ${wanted} is higher than the maximum allowed value (${most})`,
  );
}
