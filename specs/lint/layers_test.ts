import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import plugin, { engineProblem, importProblem } from "./layers.ts";

/** What the plugin finds in a file of this path. */
function find(path: string, source: string): Deno.lint.Diagnostic[] {
  return Deno.lint.runPlugin(plugin, fileURLToPath(new URL(`../../${path}`, import.meta.url)), source);
}

/** The rules that a file breaks, in order, without the plugin's name. */
const broken = (path: string, source: string) =>
  find(path, source).map(({ id }) => id.replace("layers/", ""));

Deno.test("imports keep the folders apart, a module to its own code and table, and orders out of the engine", () => {
  const inSql = (...names: string[]) => names.map((name) => `shared/sql/${name}.ts`);
  const [api, workers, ui, specs] = ["api/a.ts", "workers/a.ts", "ui/a.ts", "specs/a.ts"];
  const module = ["workers/orders/move_orders.ts", "workers/orders_payment_events.ts"];
  const own = [...inSql("orders", "outbox", "inbox", "connect"), "workers/consumer.ts"];
  const others = ["workers/payments/charge.ts", "workers/payments_order_created.ts"];
  const engine = [
    ...inSql("connect", "inbox", "outbox", "set_aside"),
    ...["shared/broker/consume.ts", "workers/relay/relay.ts", "workers/consumer.ts"],
  ];
  const aboutOrders = [
    ...inSql("orders", "payments", "enrollments", "notifications"),
    ...["shared/events.ts", "shared/order_status.ts", "shared/topology.ts", "workers/orders/move_orders.ts"],
  ];
  const cases: readonly [may: boolean, from: readonly string[], to: readonly string[]][] = [
    [true, [api, workers, ui, "shared/a.ts"], ["shared/process/log.ts"]],
    [false, inSql("orders"), [api, workers, ui, specs]],
    [false, [api], [workers, ui, specs]],
    [false, [workers], [api, ui, specs]],
    [false, [ui], [api, workers, specs]],
    [true, ["api/page/page.ts"], ["ui/page.tsx"]],
    [true, ["shared/sql/orders_test.ts", "ui/page_test.tsx", "specs/support/a.ts"], ["workers/dev/main.ts"]],
    [true, module, [...own, "shared/order_status.ts", "workers/orders/decide.ts"]],
    [false, module, [...inSql("payments", "set_aside", "migrate"), ...others]],
    [true, ["workers/dev/main.ts", "workers/orders/a_test.ts"], others],
    [true, ["api/ops/status.ts"], inSql("orders")],
    [false, engine, aboutOrders],
    [true, engine, ["shared/process/log.ts", "shared/sql/outbox.ts", "shared/broker/settle.ts"]],
    [true, ["shared/broker/a_test.ts", "shared/sql/orders.ts"], ["shared/events.ts"]],
  ];
  for (const [may, from, to] of cases) {
    for (const [file, other] of from.flatMap((file) => to.map((other) => [file, other] as const))) {
      const problem = importProblem(file, other) ?? engineProblem(file, other);
      assertEquals(problem === undefined, may, `${file} imports ${other}`);
    }
  }
});

Deno.test("layers/imports sees every form of import", () => {
  const forms = [
    `import type { A } from "../workers/a.ts";`,
    `const a = await import("../workers/a.ts");`,
    `let a: import("../workers/a.ts").A;`,
    `export { a } from "../workers/a.ts";\nlet b;`,
    `export * from "../workers/a.ts";\nlet b;`,
  ];
  for (const source of forms) assertEquals(broken("api/b.ts", source), ["imports"], source);
  assertEquals(
    broken("api/b.ts", `import { a } from "./a.ts"; import z from "zod"; import "node:path";`),
    [],
  );
});

/** Asserts that a rule finds `source` everywhere but in these files. */
function assertForbidden(rule: string, source: string, mayDo: readonly string[]): void {
  for (const path of ["api/app.ts", "shared/sql/orders.ts", "workers/outbox_relay.ts"]) {
    assertEquals(broken(path, source), [rule], path);
  }
  for (const path of [...mayDo, "api/app_test.ts", "specs/support/a.ts"]) {
    assertEquals(broken(path, source), [], path);
  }
}

Deno.test("layers/environment, no-unsafe-sql and no-bare-begin know where such a thing may stand", () => {
  const edges = ["workers/dev/processes.ts", "workers/tools/status.ts", "workers/orders_main.ts"];
  for (const source of [`Deno.env.get("A");`, "process.env.A;", "const { env } = Deno;"]) {
    assertForbidden("environment", source, ["shared/process/config.ts", ...edges]);
  }
  assertEquals(broken("api/app.ts", "Deno.exit(); environment.env;"), []);
  assertForbidden("no-unsafe-sql", `await tx.unsafe("drop table t");`, ["shared/sql/migrate.ts"]);
  assertForbidden("no-bare-begin", "await sql.begin(async (tx) => {});", ["shared/sql/connect.ts"]);
});

Deno.test("every problem says what to do instead", () => {
  const source =
    `import "../../api/a.ts";\nimport "../events.ts";\nsql.unsafe("");\nsql.begin();\nDeno.env.get("A");`;
  const found = find("shared/broker/a.ts", source);
  assertEquals(
    found.map(({ id }) => id.replace("layers/", "")).toSorted(),
    Object.keys(plugin.rules).toSorted(),
  );
  for (const { hint } of found) assertMatch(hint ?? "", /^[A-Z].+\.$/);
});
