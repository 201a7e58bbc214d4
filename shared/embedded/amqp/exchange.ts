import type { Queue } from "./queue.ts";
import { createTopicTrie, type TopicTrie } from "./topic_trie.ts";

/** The exchange types that are served. */
export type ExchangeType = "direct" | "fanout" | "topic";

/** An exchange and the bindings that lead away from it. */
export type Exchange = {
  readonly kind: "exchange";
  readonly name: string;
  readonly type: ExchangeType;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  /** Destinations by binding key. */
  readonly bindings: Map<string, Set<Destination>>;
  readonly patterns: TopicTrie<Set<Destination>>;
  /** Queues by routing key, as last worked out; valid for one version of the topology. */
  readonly routes: Map<string, readonly Queue[]>;
  routesVersion: number;
};

/** What a binding leads to. */
export type Destination = Queue | Exchange;

/** More routing keys than this are worked out anew: the cache must not grow with what publishers make up. */
const MAX_CACHED_ROUTES = 4096;

/** An exchange without bindings. */
export function createExchange(
  declaration: Pick<Exchange, "name" | "type" | "durable" | "autoDelete" | "internal">,
): Exchange {
  return {
    kind: "exchange",
    ...declaration,
    bindings: new Map(),
    patterns: createTopicTrie(),
    routes: new Map(),
    routesVersion: -1,
  };
}

/** Binds; false when the binding was there already. */
export function bind(source: Exchange, key: string, destination: Destination): boolean {
  let destinations = source.bindings.get(key);
  if (!destinations) {
    destinations = new Set();
    source.bindings.set(key, destinations);
    if (source.type === "topic") source.patterns.add(key, destinations);
  }
  if (destinations.has(destination)) return false;
  destinations.add(destination);
  return true;
}

/** Unbinds; false when there was no such binding. */
export function unbind(source: Exchange, key: string, destination: Destination): boolean {
  const destinations = source.bindings.get(key);
  if (!destinations?.delete(destination)) return false;
  if (destinations.size === 0) {
    source.bindings.delete(key);
    if (source.type === "topic") source.patterns.remove(key, destinations);
  }
  return true;
}

/**
 * The queues that a message with this key reaches, through bindings of exchanges to exchanges too; each queue
 * once. `version` is that of the topology: answers are cached until it changes.
 */
export function route(exchange: Exchange, key: string, version: number): readonly Queue[] {
  if (exchange.routesVersion !== version) {
    exchange.routes.clear();
    exchange.routesVersion = version;
  }
  const cached = exchange.routes.get(key);
  if (cached) return cached;
  const queues = [...reachedQueues(exchange, key)];
  if (exchange.routes.size >= MAX_CACHED_ROUTES) exchange.routes.clear();
  exchange.routes.set(key, queues);
  return queues;
}

function reachedQueues(exchange: Exchange, key: string): Set<Queue> {
  const queues = new Set<Queue>();
  const exchanges = new Set([exchange]);
  for (const next of exchanges) {
    for (const destinations of matchingBindings(next, key)) {
      for (const destination of destinations) {
        if (destination.kind === "queue") queues.add(destination);
        else exchanges.add(destination); // the loop reaches it too, and a cycle ends here
      }
    }
  }
  return queues;
}

function matchingBindings(exchange: Exchange, key: string): Iterable<Set<Destination>> {
  switch (exchange.type) {
    case "direct": {
      const destinations = exchange.bindings.get(key);
      return destinations ? [destinations] : [];
    }
    case "fanout":
      return exchange.bindings.values();
    case "topic": {
      const found = new Set<Set<Destination>>();
      exchange.patterns.match(key, found);
      return found;
    }
  }
}
