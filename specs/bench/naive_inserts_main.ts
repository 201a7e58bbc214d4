/**
 * A baseline: rows inserted one at a time, each in a transaction of its own, over so many connections. Prints its report
 * as JSON.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { connect } from "../../shared/sql/connect.ts";
import { quantiles } from "./load_report.ts";

/** What the baseline reports. */
export interface NaiveReport {
  /** Rows inserted per second. */
  readonly perSecond: number;
  /** Half of the inserts took no longer, in milliseconds. */
  readonly p50: number;
  /** Of 100 inserts 99 took no longer, in milliseconds. */
  readonly p99: number;
  /** The share of one core that the baseline itself used. */
  readonly cpuShare: number;
}

/** The report as JSON. */
export const naiveReportSchema: z.ZodType<NaiveReport> = z.object({
  perSecond: z.number(),
  p50: z.number(),
  p99: z.number(),
  cpuShare: z.number(),
});

const flagsSchema = z.object({
  database: z.url(),
  orders: z.coerce.number().int().min(1).max(1_000_000),
  connections: z.coerce.number().int().min(1).max(1000),
});

if (import.meta.main) {
  const string = { type: "string" } as const;
  const { values } = parseArgs({ options: { database: string, orders: string, connections: string } });
  const report = await insertOneByOne(flagsSchema.parse(values));
  console.log(JSON.stringify(report));
}

/** Inserts into `naive_orders`, a copy of `orders` with its indexes, which has to be there. */
async function insertOneByOne(
  { database, orders, connections }: z.infer<typeof flagsSchema>,
): Promise<NaiveReport> {
  const sql = connect(database, { name: "naive inserts", role: null, max: connections });
  try {
    // Every connection is open before the clock starts, as the API's are.
    await Promise.all(Array.from({ length: connections }, () => sql`select pg_sleep(0.05)`));
    const latencies: number[] = [];
    const cpuBefore = process.cpuUsage();
    const startedMs = performance.now();
    let left = orders;
    await Promise.all(Array.from({ length: connections }, async () => {
      while (left-- > 0) {
        const sentMs = performance.now();
        const now = new Date();
        await sql`
          insert into naive_orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
          values (${uuidv7()}, ${SCENARIO_USER}, ${RESERVED_COURSES.success}, ${"49.90"}, ${uuidv7()}, ${now}, ${now})`;
        latencies.push(performance.now() - sentMs);
      }
    }));
    const seconds = (performance.now() - startedMs) / 1000;
    const { user, system } = process.cpuUsage(cpuBefore);
    return {
      perSecond: orders / seconds,
      ...quantiles(latencies),
      cpuShare: (user + system) / 1e6 / seconds,
    };
  } finally {
    await sql.end({ timeout: 2 });
  }
}
