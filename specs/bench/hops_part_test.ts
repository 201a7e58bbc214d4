import { assertEquals } from "@std/assert";
import { hopRows, watchWires } from "./hops_part.ts";

const bytes = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const message = (type: string, body: string) => `${type}\0\0\0${String.fromCharCode(body.length + 4)}${body}`;
const SYNC = "S\0\0\0\x04";
const ANSWER = bytes("C....Z....");
const NOTIFIED = bytes("A....");
const prepare = (name: string, sql: string) => message("P", `${name}\0${sql}\0`);
const execute = (name: string) => message("B", `\0${name}\0......`) + message("E", "....") + SYNC;
const frame = (method: string) => `\x01\0\x01\0\0\0\x09\0\x3c\0${method}.....\xce`;
const [PUBLISH, DELIVER] = [frame("\x28"), frame("\x3c")];

/** A watch, and the connections of three processes. */
function wires() {
  const watch = watchWires();
  const database = (name: string) => {
    const tap = watch.database();
    tap.sent(bytes(`....user\0me\0application_name\0orderflow ${name}\0\0`));
    tap.received(ANSWER);
    return tap;
  };
  const broker = (name: string) => {
    const tap = watch.broker();
    tap.sent(bytes(`AMQP.... connection_nameS\0\0\0\x0forderflow ${name}\x0ccapabilitiesF`));
    return tap;
  };
  const taps = {
    api: database("api"),
    relay: database("outbox-relay"),
    listening: database("outbox-relay"),
    publishing: broker("outbox-relay"),
    seats: database("seats.v1"),
    consuming: broker("seats.v1"),
  };
  taps.api.sent(bytes(prepare("n1", "select pg_notify($1, '')") + execute("n1")));
  taps.api.received(ANSWER);
  watch.take();
  return { watch, ...taps };
}

Deno.test("what leaves before an answer comes is one round trip, in one write or in two", () => {
  const { watch, api, relay } = wires();
  relay.sent(bytes(`${message("Q", "begin\0")}${execute("s1")}`));
  relay.received(ANSWER);
  relay.received(ANSWER);
  api.sent(bytes(execute("s1")));
  api.sent(bytes(execute("n1")));
  api.received(ANSWER);
  api.sent(bytes(message("X", "")));
  const { roundTrips, statements, onlyNotify } = watch.take();
  assertEquals([...roundTrips], [["outbox-relay", 1], ["api", 1]]);
  assertEquals([statements, onlyNotify], [4, 1]);
  assertEquals(watch.take().roundTrips.size, 0);
});

Deno.test("a heartbeat is no part of an order", () => {
  const { watch, api } = wires();
  api.sent(bytes(prepare("h1", "insert into heartbeats values ($1)") + execute("h1")));
  api.received(ANSWER);
  const { roundTrips, statements, heartbeats, hops } = watch.take();
  assertEquals([roundTrips.size, statements, heartbeats, hops.size], [0, 0, 1, 0]);
});

Deno.test("hops are counted along the way of an order: database, notification, delivery", () => {
  const { watch, api, relay, listening, publishing, seats, consuming } = wires();
  api.sent(bytes(execute("s1")));
  api.received(ANSWER); // 1
  api.sent(bytes(execute("n1")));
  listening.received(NOTIFIED); // 2
  api.received(ANSWER);
  relay.sent(bytes(execute("claim")));
  relay.received(ANSWER); // 3
  publishing.sent(bytes(`${PUBLISH}${PUBLISH}`));
  relay.sent(bytes(execute("mark")));
  relay.received(ANSWER); // beside the order's way
  consuming.received(bytes(DELIVER)); // 4
  seats.sent(bytes(execute("seat")));
  seats.received(ANSWER); // 5
  const { hops, notified, publishes, deliveries } = watch.take();
  assertEquals(hops.get("seats.v1"), 5);
  assertEquals([...notified], [["outbox-relay", 1]]);
  assertEquals([publishes, deliveries], [2, 1]);
});

Deno.test("the lines have what most orders do, and a commit that only notifies is no durable one", () => {
  const order = (trips: number) => ({
    roundTrips: new Map([["api", 1], ["test.1a2b.seats.v1", trips]]),
    statements: 9,
    heartbeats: 2,
    onlyNotify: 4,
    notified: new Map([["outbox-relay", 3]]),
    publishes: 4,
    deliveries: 5,
    hops: new Map([["seats.v1", 12]]),
    writes: 16,
  });
  const rows = hopRows([order(4), order(3), order(3), order(40)], "seats.v1");
  const figures = rows.map(({ what, ours }) => [what.replace("one order at rest: ", ""), ours]);
  assertEquals(Object.fromEntries(figures), {
    "database round trips": 4,
    "statements, begin and commit among them": 9,
    "durable commits": 10,
    "commits that only notify": 4,
    "wake-ups of the relay": 3,
    "publishes": 4,
    "deliveries": 5,
    "hops in a row": 12,
  });
  assertEquals(rows[0]?.note, "api 1, seats.v1 3");
});
