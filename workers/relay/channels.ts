// What the relay's process sends over: three channels on one connection, so that what comes back on one is told apart from
// what the others have under way.

import type { Channel, ChannelModel } from "amqplib";
import {
  ensureTopology,
  type QueueDepth,
  readQueueDepths,
  renewsAtMost,
  tieToConnection,
  type Topology,
} from "../../shared/broker/connection.ts";
import { createPublisher, type Publisher } from "../../shared/broker/publish.ts";
import type { Logger } from "../../shared/process/log.ts";

interface Channels {
  /** For events, to the exchange. */
  readonly events: Publisher;
  /** For reconciliation and delayed retries, to single queues. */
  readonly retries: {
    readonly publisher: Publisher;
    /** Asks the broker for its queues; where it does not answer, the connection is made anew. */
    readonly readQueues: () => Promise<readonly QueueDepth[]>;
  };
  readonly replays: Publisher;
}

interface ChannelsOptions {
  readonly topology: Topology;
  /** Put around the publisher of every channel. */
  readonly around: (publisher: Publisher) => Publisher;
  readonly aroundEvents: (publisher: Publisher) => Publisher;
  /** Called when channels are open, and when the broker takes messages again. */
  readonly onOpen: () => void;
  readonly log: Logger;
}

/**
 * Makes the channels of the connection that is up. `open()` answers with them: null while there are none, and while the
 * broker takes nothing. `setup` opens them on a new connection; `closeConnection` has another one made. So does a broker
 * that leaves messages unanswered, although the connection looks alive, or refuses some, at most once in two seconds.
 */
export function createChannels({ topology, around, aroundEvents, onOpen, log }: ChannelsOptions) {
  let open: Channels | null = null;
  let closeConnection = () => {};
  const onNack = renewsAtMost(() => closeConnection());

  async function readQueues(channel: Channel): Promise<readonly QueueDepth[]> {
    try {
      return await readQueueDepths(channel, topology);
    } catch (error) {
      closeConnection(); // a queue is missing or silent: either way it is declared and asked anew
      throw error;
    }
  }

  async function setup(model: ChannelModel): Promise<void> {
    closeConnection = () => void model.close().catch(() => {}); // it may be closed already
    const openChannel = async () => {
      const channel = await model.createConfirmChannel();
      tieToConnection(channel, model, log, () => open = null);
      return { channel, publisher: renewing(around(createPublisher(channel, onNack)), closeConnection) };
    };
    const [events, retries, replays] = [await openChannel(), await openChannel(), await openChannel()];
    await ensureTopology(model, topology);
    const opened = {
      events: aroundEvents(events.publisher),
      retries: { publisher: retries.publisher, readQueues: () => readQueues(retries.channel) },
      replays: replays.publisher,
    };
    const use = () => {
      open = opened;
      onOpen();
    };
    // A broker that is short of memory or disk stops reading from publishers. Events are safest where they are.
    model.on("blocked", () => open = null);
    model.on("unblocked", use);
    use();
  }

  return { open: () => open, setup, closeConnection: () => closeConnection() };
}

function renewing(publisher: Publisher, renew: () => void): Publisher {
  return {
    async publish(...args) {
      const outcome = await publisher.publish(...args);
      if (outcome.unknown.length > 0) renew();
      return outcome;
    },
  };
}
