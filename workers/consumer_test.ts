import { assertRejects } from "@std/assert";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";
import { ConfigError } from "../shared/process/config.ts";
import { takeName } from "./consumer.ts";

shareTestSchema();

Deno.test("takeName() lets a module's copies begin, and refuses another module that has the same queue by mistake", async () => {
  await using db = await testSchema();
  for (let copy = 0; copy < 2; copy++) {
    await takeName(db.as("orderflow_enrollments"), "seats.v1", "orderflow_enrollments");
  }
  const mistaken = () => takeName(db.as("orderflow_payments"), "seats.v1", "orderflow_payments");
  await assertRejects(mistaken, ConfigError, "orderflow_enrollments consumes from the queue seats.v1");
});
