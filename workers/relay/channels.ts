/**
 * What the relay's process sends over: three channels on one connection, so that what comes back on one is told apart from
 * what the others have under way.
 *
 * @module
 */
import type { Channel, ChannelModel, ConfirmChannel } from "amqplib";
import { type QueueDepth, tieToConnection } from "../../shared/broker/connection.ts";
import type { Publisher } from "../../shared/broker/publish.ts";
import type { Logger } from "../../shared/process/log.ts";

/** The channels of a connection. */
interface Open {
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

/** What {@linkcode createChannels} works with. */
export interface ChannelsOptions {
  /** Declares what is published to. */
  readonly declare: (channel: Channel) => Promise<void>;
  readonly readQueues: (channel: Channel) => Promise<readonly QueueDepth[]>;
  readonly publisherOn: (channel: ConfirmChannel) => Publisher;
  readonly aroundEvents: (publisher: Publisher) => Publisher;
  /** Called when channels are open, and when the broker takes messages again. */
  readonly onOpen: () => void;
  readonly log: Logger;
}

export type Channels = ReturnType<typeof createChannels>;

/**
 * Makes the channels of the connection that is up; each is null while there is none, and while the broker takes nothing.
 * `setup` opens them on a new connection; `closeConnection` has another one made.
 */
export function createChannels(options: ChannelsOptions) {
  const { declare, publisherOn, aroundEvents, onOpen, log } = options;
  let open: Open | null = null;
  let closeConnection = () => {};

  async function readQueues(channel: Channel): Promise<readonly QueueDepth[]> {
    try {
      return await options.readQueues(channel);
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
      return channel;
    };
    const [events, retries, replays] = [await openChannel(), await openChannel(), await openChannel()];
    await declare(events);
    const opened = {
      events: aroundEvents(publisherOn(events)),
      retries: { publisher: publisherOn(retries), readQueues: () => readQueues(retries) },
      replays: publisherOn(replays),
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

  return {
    get events() {
      return open?.events ?? null;
    },
    get retries() {
      return open?.retries ?? null;
    },
    get replays() {
      return open?.replays ?? null;
    },
    setup,
    closeConnection: (): void => closeConnection(),
  };
}
