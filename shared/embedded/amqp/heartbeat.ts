import type { Connection } from "./connection_state.ts";
import { writeHeartbeatFrame } from "./frame_writer.ts";

/** Looked at twice per interval, so a peer is given up between two and two and a half intervals of silence. */
const TICKS_UNTIL_DEAD = 4;

/**
 * Keeps a connection alive from here, and watches the peer (AMQP 0-9-1, section 4.2.7): a heartbeat goes out
 * whenever nothing else did for half an interval; `onDead` is called when for two intervals nothing came, or
 * nothing was taken of what waits to go out. Nothing happens with an interval of 0 seconds.
 */
export function startHeartbeat(connection: Connection, seconds: number, onDead: () => void): void {
  if (seconds === 0) return;
  let reads = connection.reads;
  let sent = connection.out.progress();
  let silentTicks = 0;
  let stuckTicks = 0;
  connection.heartbeat = setInterval(() => {
    const isIdle = connection.out.progress() === sent;
    const isPending = connection.out.pendingBytes() > 0;
    silentTicks = connection.reads === reads && !connection.paused ? silentTicks + 1 : 0;
    stuckTicks = isIdle && isPending ? stuckTicks + 1 : 0;
    reads = connection.reads;
    sent = connection.out.progress();
    if (silentTicks > TICKS_UNTIL_DEAD || stuckTicks > TICKS_UNTIL_DEAD) return onDead();
    if (!isIdle || isPending) return;
    writeHeartbeatFrame(connection.out.writer());
    connection.out.flushSoon();
  }, seconds * 500);
}
