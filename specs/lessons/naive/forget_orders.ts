// Takes away all that the orders of `place_order.ts` have left in the database, so that the next lesson starts from a
// whole system.

import postgres from "postgres";
import { readConfig } from "../../../shared/process/config.ts";

const { DATABASE_URL } = readConfig(["DATABASE_URL"], (name) => Deno.env.get(name));
const sql = postgres(DATABASE_URL);
await sql`
  with naive as (select id from orders where correlation_id = 'naive'),
    told as (delete from outbox_events where order_id in (select id from naive) returning id),
    settled as (delete from processed_events where event_id in (select id from told)),
    paid as (delete from payments where order_id in (select id from naive)),
    seated as (delete from enrollments where order_id in (select id from naive)),
    notified as (delete from notifications where order_id in (select id from naive))
  delete from orders where id in (select id from naive)`;
await sql.end();
