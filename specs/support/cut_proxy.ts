// A proxy in front of a service, whose wire can be cut.

export type CutProxy = ReturnType<typeof startCutProxy>;

/**
 * Starts a proxy in front of the service that `serviceUrl` names; `rewrite` replaces what a client says first. Disposing
 * of it closes all connections.
 */
export function startCutProxy(
  serviceUrl: string,
  defaultPort: number,
  rewrite = (greeting: Uint8Array<ArrayBuffer>) => greeting,
) {
  const service = new URL(serviceUrl);
  const target = { hostname: service.hostname, port: Number(service.port || defaultPort) };
  const sockets = new Set<Deno.Conn>();
  const under = new Set<Promise<void>>();
  let isCut = false;
  let isSilent = false;
  let silences = 0;
  let roundTrips = 0;

  const close = (socket: Deno.Conn) => {
    if (!sockets.delete(socket)) return;
    try {
      socket.close();
    } catch {
      // Closed by its stream already.
    }
  };

  async function carry(client: Deno.Conn): Promise<void> {
    sockets.add(client);
    try {
      if (isCut) return;
      const server = await Deno.connect(target);
      sockets.add(server);
      const [toServer, toClient] = watchConnection();
      const ways = [
        client.readable.pipeThrough(toServer).pipeTo(server.writable),
        server.readable.pipeThrough(toClient).pipeTo(client.writable),
      ];
      await Promise.allSettled(ways.map((way) =>
        way.finally(() => {
          close(client);
          close(server);
        })
      ));
    } catch {
      // The service is not there: the client sees its connection close.
    } finally {
      close(client);
    }
  }

  function watchConnection() {
    const silencesBefore = isSilent ? -1 : silences;
    let isClientsTurn = true;
    const way = (isFromClient: boolean) => {
      let isGreeting = isFromClient;
      return new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform(chunk, out) {
          if (isFromClient && isClientsTurn) roundTrips++;
          isClientsTurn = !isFromClient;
          if (silences === silencesBefore) out.enqueue(isGreeting ? rewrite(chunk) : chunk);
          isGreeting = false;
        },
      });
    };
    return [way(true), way(false)] as const;
  }

  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = (async () => {
    for await (const client of listener) {
      const carried = carry(client).finally(() => under.delete(carried));
      under.add(carried);
    }
  })();

  const url = new URL(serviceUrl);
  url.hostname = "127.0.0.1";
  url.port = String(listener.addr.port);
  const closeAll = () => [...sockets].forEach(close);
  return {
    url: url.href,
    /** Breaks all connections, and refuses new ones until restored. */
    cut() {
      isCut = true;
      closeAll();
    },
    /** Has no connection carry anything any more, as if the other host had died; those made until restored never do. */
    cutSilently() {
      isSilent = true;
      silences++;
    },
    restore() {
      isCut = isSilent = false;
    },
    /** New ones are let through, unless the wire is cut. */
    breakConnections: closeAll,
    /** Has the connections that are open now carry nothing any more, as if the other host had died; new ones do. */
    silence: () => void silences++,
    /** How often a client has sent something since the service last did, over all connections. */
    roundTrips: () => roundTrips,
    async [Symbol.asyncDispose]() {
      listener.close();
      closeAll();
      await Promise.all([accepting, ...under]);
    },
  };
}
