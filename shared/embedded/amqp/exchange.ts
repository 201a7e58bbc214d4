import type { Queue } from "./queue.ts";

/** The exchange types that are served. */
export type ExchangeType = "direct" | "fanout" | "topic";

/** What an exchange is declared with. */
export type ExchangeDeclaration = {
  readonly name: string;
  readonly type: ExchangeType;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
};

/** An exchange, and the queues that are bound to it by binding key. */
export type Exchange = ExchangeDeclaration & {
  readonly bindings: Map<string, Set<Queue>>;
  /** Queues by routing key, as worked out since the last change of bindings. */
  readonly routes: Map<string, readonly Queue[]>;
};

/** More routing keys than this are worked out anew: the cache must not grow with what publishers make up. */
const MAX_CACHED_ROUTES = 4096;

/** An exchange without bindings. */
export function createExchange(declaration: ExchangeDeclaration): Exchange {
  return { ...declaration, bindings: new Map(), routes: new Map() };
}

/** Binds; false when the binding was there already. */
export function bind({ bindings, routes }: Exchange, key: string, queue: Queue): boolean {
  const queues = bindings.get(key) ?? new Set();
  if (queues.has(queue)) return false;
  bindings.set(key, queues.add(queue));
  routes.clear();
  return true;
}

/** Unbinds; false when there was no such binding. */
export function unbind({ bindings, routes }: Exchange, key: string, queue: Queue): boolean {
  const queues = bindings.get(key);
  if (!queues?.delete(queue)) return false;
  if (queues.size === 0) bindings.delete(key);
  routes.clear();
  return true;
}

/** The queues that a message with this key reaches, each once. */
export function route(exchange: Exchange, key: string): readonly Queue[] {
  const cached = exchange.routes.get(key);
  if (cached) return cached;
  const queues = new Set<Queue>();
  for (const [pattern, bound] of exchange.bindings) {
    if (matches(exchange.type, pattern, key)) bound.forEach((queue) => queues.add(queue));
  }
  if (exchange.routes.size >= MAX_CACHED_ROUTES) exchange.routes.clear();
  const found = [...queues];
  exchange.routes.set(key, found);
  return found;
}

function matches(type: ExchangeType, pattern: string, key: string): boolean {
  return type === "fanout" || (type === "direct" ? pattern === key : topicMatches(pattern, key));
}

/**
 * Whether a topic pattern matches a key: words divided by dots, where `*` stands for exactly one word and `#` for any number
 * of words, none included (section 3.1.3.3). An empty text has no words.
 *
 * Where a word does not fit, the last `#` takes one word more and what follows it is tried again; an earlier `#` never needs
 * to, so the time grows with the product of both lengths, not exponentially.
 */
export function topicMatches(pattern: string, key: string): boolean {
  const wanted = pattern === "" ? [] : pattern.split(".");
  const words = key === "" ? [] : key.split(".");
  let at = 0; // in `wanted`
  let next = 0; // in `words`
  let afterHash = -1; // in `wanted`, after the last `#`
  let taken = 0; // in `words`, where what follows that `#` was tried
  while (next < words.length || at < wanted.length) {
    if (wanted[at] === "#") {
      afterHash = ++at;
      taken = next;
    } else if (
      next < words.length && at < wanted.length && (wanted[at] === "*" || wanted[at] === words[next])
    ) {
      at++;
      next++;
    } else if (afterHash >= 0 && taken < words.length) {
      next = ++taken;
      at = afterHash;
    } else {
      return false;
    }
  }
  return true;
}
