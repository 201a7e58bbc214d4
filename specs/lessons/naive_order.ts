/**
 * How an order must not be placed: stored in one step, told in the next. Lesson 1 runs it.
 *
 * Without arguments it stores an order, prints its id, and dies where it would publish `order.created`. With
 * `--delete <id>` it takes such an order away again.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import { insertingOrders } from "../../shared/sql/orders.ts";

/** What a shell shows for a process that SIGKILL ended. */
const EXIT_KILLED = 137;

if (import.meta.main) {
  const sql = connect(Deno.env.get("DATABASE_URL") ?? "", { name: "naive-order", role: null, max: 1 });
  const [flag, id = ""] = Deno.args;
  if (flag === "--delete") {
    await sql`delete from orders where id = ${id}`;
    await sql.end();
  } else {
    console.log(await storeOrder(sql)); // the first write: committed
    Deno.exit(EXIT_KILLED); // a deploy, a full memory, a power cut: the second write never comes
  }
}

async function storeOrder(sql: Sql): Promise<string> {
  const id = uuidv7();
  await insertingOrders(sql, [{
    id,
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
    correlationId: "naive",
    createdAt: new Date(),
  }]);
  return id;
}
