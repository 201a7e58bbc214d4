import { assertEquals } from "@std/assert";
import postgres from "postgres";
import { testDatabase } from "./test_postgres.ts";

Deno.test("testDatabase() works without a server shared by the file, and leaves nothing open", async () => {
  await using db = await testDatabase();
  const sql = postgres(db.url, { max: 1, onnotice: () => {} });
  try {
    const [row] = await sql`select 1 as one`;
    assertEquals(row?.one, 1);
  } finally {
    await sql.end();
  }
});
