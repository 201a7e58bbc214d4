// What the application is made of; each part of it asks for what it needs by name.

import type { Binding } from "../shared/broker/connection.ts";
import type { Publisher } from "../shared/broker/publish.ts";
import type { Audit } from "../shared/ops/audit.ts";
import type { ReadTimelines } from "../shared/ops/timeline.ts";
import type { Logger } from "../shared/process/log.ts";
import type { Sql } from "../shared/sql/connect.ts";
import type { Topology } from "../shared/topology.ts";
import type { OpsAccess } from "./ops/access.ts";
import type { LiveFeed, ReadQueues } from "./ops/live.ts";
import type { PlaceOrder } from "./place_orders.ts";

export interface AppDeps {
  readonly placeOrder: PlaceOrder;
  readonly countCreated?: () => number;
  /** The pool that orders are written over: whether it answers is whether the API is ready. */
  readonly ordersSql: Sql;
  /** Reads every table, has outbox events published again, and arms faults; the role `orderflow_ops` may do that. */
  readonly opsSql: Sql;
  /** Whether the database has been reached since the process started, and its schema is up to date. */
  readonly isSchemaReady: () => boolean;
  readonly isBrokerUp: () => boolean;
  /** Sends to single queues; null while the broker cannot be reached. */
  readonly publisher: () => Publisher | null;
  readonly readQueues: ReadQueues;
  readonly readTimelines: ReadTimelines;
  /** Audits the whole database; `graceSeconds` is how long what follows from an event may take. */
  readonly audit: (graceSeconds: number) => Promise<Audit>;
  readonly bindings: readonly Binding[];
  /** How long the inbox remembers what was processed, in days. */
  readonly retentionDays: number;
  /** How many delayed retries a consumer makes; absent where the API is not told. */
  readonly maxRetries?: number;
  /** Tells how everything stands; whoever made it closes it before the server, which waits for open streams. */
  readonly live: LiveFeed;
  /** The queues by their names; absent where `FAULTS_ENABLED` is off, and then nothing can be made to fail. */
  readonly faults?: Topology;
  /** The folder of the page's script and styles. */
  readonly bundle: string;
  readonly access: OpsAccess;
  /** Whether the runtime makes a span of each request; false by default. */
  readonly isTraced?: boolean;
  readonly log: Logger;
}
