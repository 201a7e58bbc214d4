/**
 * The consumer that CONTRIBUTING.md adds, seen at work in a whole system. It is no test of this
 * project, which has no such consumer: `specs/contributing_test.ts` runs it in a copy that has followed the steps.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { runAudit } from "../../shared/ops/audit.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { eventually } from "../support/eventually.ts";
import { fingerprint, readLedger, settled } from "../support/ledger.ts";
import { placeOrders } from "../support/place_orders.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();

const PROCESS = "certificates-enrollment-granted";
const CONSUMER = "certificates.enrollment-granted.v1";
const EACH = 100;
const COURSES = Object.values(RESERVED_COURSES);

Deno.test("the new consumer issues one certificate per granted seat and tells of it, killed, repeated or not, and nothing else changes", async () => {
  await using stack = await startStack({}, { apart: [PROCESS] });
  const { sql } = stack.db;
  const courseOf = (n: number) => COURSES[n % COURSES.length] ?? "";
  const load = placeOrders(stack.url, { orders: EACH * COURSES.length, connections: 8, courseOf });
  await eventually("the first certificates", async () => (await readCertificates(sql)).length > 0);
  await stack.kill(PROCESS);
  stack.start(PROCESS);
  await load;
  await settled(stack);

  const issued = await readCertificates(sql);
  assertEquals(issued.length, EACH);
  assertEquals(
    issued.filter(({ told, granted, processed }) => told !== 1 || granted !== 1 || processed !== 1),
    [],
  );
  const ledger = await readLedger(sql);
  assertEquals(ledger.orders, { COMPLETED: EACH, PAYMENT_FAILED: EACH, REFUNDED: EACH });
  assertEquals(ledger.deadLetters, 0);

  const before = await fingerprint(sql);
  await sql`update outbox_events set published_at = null`;
  await eventually("every repeat to leave its trace in the inbox", async () => {
    const [row] = await sql`
      select count(*)::int as count from processed_events where duplicates = 0`;
    return row?.count === 0;
  }, 30_000);
  await settled(stack);
  assertEquals(await readCertificates(sql), issued);
  assertEquals(await fingerprint(sql), before);
  assertEquals(await readLedger(sql), ledger);

  const { checks } = await runAudit(stack.db.as("orderflow_ops"), stack.broker.topology, { graceSeconds: 0 });
  assertEquals(checks.filter(({ count }) => count > 0), []);
});

interface Certificate {
  readonly id: string;
  /** How many published events say that it was issued, with its order's correlation id. */
  readonly told: number;
  /** How many seats were granted for its order and course. */
  readonly granted: number;
  /** How many of those events the consumer has in its inbox. */
  readonly processed: number;
}

async function readCertificates(sql: Sql): Promise<Certificate[]> {
  return await sql<Certificate[]>`
    select c.id,
           (select count(*)::int from outbox_events e join orders o on o.id = e.order_id
            where e.type = 'certificate.issued' and e.published_at is not null and o.id = c.order_id
              and e.correlation_id = o.correlation_id
              and e.payload -> 'data' ->> 'certificateId' = c.id::text) as told,
           (select count(*)::int from enrollments s
            where s.order_id = c.order_id and s.course_id = c.course_id and s.status = 'GRANTED') as granted,
           (select count(*)::int from outbox_events e join processed_events p on p.event_id = e.id
            where e.type = 'enrollment.granted' and e.order_id = c.order_id
              and p.consumer like ${`%${CONSUMER}`}) as processed
    from certificates c order by c.id`;
}
