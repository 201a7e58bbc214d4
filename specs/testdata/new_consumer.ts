// The consumer that CONTRIBUTING.md adds, seen at work in a whole system. It is no test of this
// project, which has no such consumer: `specs/contributing_test.ts` runs it in a copy that has followed the steps.

import { assertEquals } from "@std/assert";
import type { Sql } from "../../shared/sql/connect.ts";
import { tickRelay } from "../../shared/sql/outbox.ts";
import { eventually } from "../support/eventually.ts";
import { fingerprint, ledgerOf, readLedger, settled, violations } from "../support/ledger.ts";
import { mixedCourse, placeOrders } from "../support/place_orders.ts";
import { shareTestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";

shareTestSchema();

const PROCESS = "certificates-enrollment-granted";

Deno.test("the new consumer issues one certificate per granted seat and tells of it, killed, repeated or not, and nothing else changes", async () => {
  await using stack = await startStack({}, { apart: [PROCESS] });
  const { sql } = stack.db;
  const load = placeOrders(stack.url, { orders: 300, connections: 8, courseOf: mixedCourse });
  await eventually("the first certificates", async () => (await readCertificates(sql)).length > 0);
  await stack.kill(PROCESS);
  stack.start(PROCESS);
  await load;
  await settled(stack);
  const issued = await readCertificates(sql);
  assertEquals(issued.length, 240);
  assertEquals(issued.filter(({ told, granted }) => told !== 1 || granted !== 1), []);
  const expected = ledgerOf({ success: 240, paymentFailure: 30, enrollmentFailure: 30 });
  assertEquals(await readLedger(sql), expected);

  const before = await fingerprint(sql);
  await sql`update outbox_events set published_at = null`;
  await tickRelay(sql);
  await eventually("every repeat to leave its trace in the inbox", async () => {
    const [row] = await sql`
      select count(*)::int as count from processed_events where duplicates = 0`;
    return row?.count === 0;
  }, 60_000);
  await settled(stack);
  assertEquals([await readCertificates(sql), await fingerprint(sql)], [issued, before]);
  assertEquals(await violations(stack), []);
});

/** Each certificate, with how many events say that it was issued, and how many seats were granted for it. */
async function readCertificates(sql: Sql): Promise<{ id: string; told: number; granted: number }[]> {
  return await sql<{ id: string; told: number; granted: number }[]>`
    select c.id,
           (select count(*)::int from outbox_events e
            where e.type = 'certificate.issued' and e.order_id = c.order_id
              and e.payload -> 'data' ->> 'certificateId' = c.id::text) as told,
           (select count(*)::int from enrollments s
            where s.order_id = c.order_id and s.course_id = c.course_id and s.status = 'GRANTED') as granted
    from certificates c order by c.id`;
}
