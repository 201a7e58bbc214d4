/**
 * What `AMQP_URL` holds: the URL of a broker, or those of a cluster's nodes.
 *
 * @module
 */

/** The schemes of AMQP (https://www.rabbitmq.com/docs/uri-spec). */
const PROTOCOLS: ReadonlySet<string> = new Set(["amqp:", "amqps:"]);

/**
 * The URLs in the text of `AMQP_URL`, one for each node, in their order. A comma separates only before a scheme: a
 * password may hold one.
 */
export function brokerUrls(text: string): readonly [string, ...string[]] {
  const [first = "", ...others] = text.split(/\s*,\s*(?=amqps?:\/\/)/);
  return [first, ...others];
}

/** Whether a client can connect with each of the URLs in the text of `AMQP_URL`. */
export function areBrokerUrls(text: string): boolean {
  return brokerUrls(text).every((one) => {
    const url = URL.parse(one);
    return url !== null && PROTOCOLS.has(url.protocol) && url.hostname !== "" && !url.hostname.includes(",");
  });
}
