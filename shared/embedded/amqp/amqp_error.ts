/** Reply codes of AMQP 0-9-1 (section 1.8, plus RabbitMQ's 312 and 313) and the name each reply text begins with. */
export const REPLY_CODE_NAMES = {
  200: "OK",
  311: "CONTENT_TOO_LARGE",
  312: "NO_ROUTE",
  320: "CONNECTION_FORCED",
  403: "ACCESS_REFUSED",
  404: "NOT_FOUND",
  405: "RESOURCE_LOCKED",
  406: "PRECONDITION_FAILED",
  501: "FRAME_ERROR",
  502: "SYNTAX_ERROR",
  503: "COMMAND_INVALID",
  504: "CHANNEL_ERROR",
  505: "UNEXPECTED_FRAME",
  506: "RESOURCE_ERROR",
  530: "NOT_ALLOWED",
  540: "NOT_IMPLEMENTED",
  541: "INTERNAL_ERROR",
} as const;

/** A reply code that this broker sends. */
export type ReplyCode = keyof typeof REPLY_CODE_NAMES;

/**
 * A protocol error the peer is told about: codes 311 to 313 and 403 to 406 close the channel it happened on,
 * every other code closes the connection (AMQP 0-9-1, section 1.2).
 */
export class AmqpError extends Error {
  /** Always `"AmqpError"`. */
  override readonly name = "AmqpError";

  /** `detail` follows the code's name in the reply text, as RabbitMQ words it. */
  constructor(readonly code: ReplyCode, detail: string) {
    super(`${REPLY_CODE_NAMES[code]} - ${detail}`);
  }

  /** Whether the whole connection closes, not just the channel. */
  get closesConnection(): boolean {
    return !(this.code === 311 || this.code === 312 || (this.code >= 403 && this.code <= 406));
  }
}
