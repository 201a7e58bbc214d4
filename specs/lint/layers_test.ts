import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import plugin, { engineProblem, importProblem, projectPath } from "./layers.ts";

/** The rules that a file breaks, in order, without the plugin's name. */
function broken(path: string, source: string): string[] {
  const filename = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  return Deno.lint.runPlugin(plugin, filename, source).map(({ id }) => id.replace("layers/", ""));
}

const isAllowed = (from: string, to: string) => importProblem(from, to) === undefined;

Deno.test("projectPath() is relative to the project's top", () => {
  assertEquals(projectPath(fileURLToPath(new URL("../../api/app.ts", import.meta.url))), "api/app.ts");
});

Deno.test("importProblem() lets every folder import shared, and shared no other", () => {
  for (const folder of ["api", "workers", "ui", "shared"]) {
    assertEquals(isAllowed(`${folder}/a.ts`, "shared/process/log.ts"), true, folder);
  }
  for (const folder of ["api", "workers", "ui", "specs"]) {
    assertEquals(isAllowed("shared/sql/orders.ts", `${folder}/a.ts`), false, folder);
  }
});

Deno.test("importProblem() keeps api, workers, ui and specs apart, but for the page's routes", () => {
  const pairs = [["api", "workers"], ["api", "ui"], ["workers", "api"], ["workers", "ui"], ["ui", "api"]];
  for (const [from, to] of [...pairs, ["ui", "workers"], ["api", "specs"], ["workers", "specs"]]) {
    assertEquals(isAllowed(`${from}/a.ts`, `${to}/b.ts`), false, `${from} imports ${to}`);
  }
  assertEquals(isAllowed("api/page/page.ts", "ui/page.tsx"), true);
  assertEquals(isAllowed("api/page/page.ts", "workers/dev/main.ts"), false);
});

Deno.test("importProblem() lets tests and specs import anything", () => {
  for (const from of ["shared/sql/orders_test.ts", "ui/page_test.tsx", "specs/support/system.ts"]) {
    assertEquals(isAllowed(from, "workers/dev/main.ts"), true, from);
  }
  assertEquals(isAllowed("workers/orders/settle_test.ts", "workers/payments/charge.ts"), true);
});

Deno.test("importProblem() keeps a module to its own table, the outbox and the inbox", () => {
  for (const from of ["workers/orders/move_orders.ts", "workers/orders_payment_events.ts"]) {
    for (const name of ["orders", "outbox", "inbox", "connect"]) {
      assertEquals(isAllowed(from, `shared/sql/${name}.ts`), true, name);
    }
    for (const name of ["payments", "set_aside", "migrate"]) {
      assertMatch(
        importProblem(from, `shared/sql/${name}.ts`)?.message ?? "",
        /owns shared\/sql\/orders\.ts/,
      );
    }
    assertEquals(isAllowed(from, "shared/order_status.ts"), true);
  }
  assertEquals(isAllowed("api/ops/status.ts", "shared/sql/orders.ts"), true);
});

Deno.test("importProblem() keeps modules apart, in handlers and in worker scripts", () => {
  assertEquals(isAllowed("workers/orders/settle.ts", "workers/orders/decide.ts"), true);
  assertEquals(isAllowed("workers/orders/settle.ts", "workers/payments/charge.ts"), false);
  assertEquals(isAllowed("workers/orders_payment_events.ts", "workers/orders/settle.ts"), true);
  assertEquals(isAllowed("workers/orders_payment_events.ts", "workers/payments/charge.ts"), false);
  assertEquals(isAllowed("workers/orders_payment_events.ts", "workers/payments_order_created.ts"), false);
  assertEquals(isAllowed("workers/orders_payment_events.ts", "workers/consumer.ts"), true);
  assertEquals(isAllowed("workers/dev/main.ts", "workers/orders_payment_events.ts"), true);
});

Deno.test("layers/imports sees every form of import", () => {
  const forms = [
    `import { a } from "../workers/a.ts";`,
    `import type { A } from "../workers/a.ts";`,
    `import "../workers/a.ts";`,
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

Deno.test("engineProblem() keeps events, statuses, topology and the modules' tables and code out of the engine", () => {
  const engine = ["shared/broker/consume.ts", "workers/relay/relay.ts", "workers/consumer.ts"];
  for (const name of ["connect", "inbox", "outbox", "set_aside"]) engine.push(`shared/sql/${name}.ts`);
  const orders = [
    "shared/events.ts",
    "shared/order_status.ts",
    "shared/topology.ts",
    "workers/orders/move_orders.ts",
  ];
  for (const name of ["orders", "payments", "enrollments", "notifications"]) {
    orders.push(`shared/sql/${name}.ts`);
  }
  for (const from of engine) {
    for (const to of orders) {
      assertMatch(engineProblem(from, to)?.message ?? "", /knows no order/, `${from}, ${to}`);
    }
    for (const to of ["shared/process/log.ts", "shared/sql/outbox.ts", "shared/broker/settle.ts"]) {
      assertEquals(engineProblem(from, to), undefined);
    }
  }
  for (const from of ["shared/broker/consume_test.ts", "shared/sql/orders.ts", "workers/outbox_relay.ts"]) {
    assertEquals(engineProblem(from, "shared/events.ts"), undefined, from);
  }
});

Deno.test("layers/engine-knows-no-order sees types too", () => {
  const source = `import type { EventType } from "../events.ts";`;
  assertEquals(broken("shared/broker/message.ts", source), ["engine-knows-no-order"]);
  assertEquals(broken("shared/ops/timeline.ts", source), []);
});

Deno.test("layers/environment lets only configuration, mains, the dev supervisor and tests read it", () => {
  const source = `Deno.env.get("A");`;
  for (
    const path of [
      "api/app.ts",
      "shared/process/log.ts",
      "workers/orders/settle.ts",
      "workers/outbox_relay.ts",
    ]
  ) {
    assertEquals(broken(path, source), ["environment"], path);
  }
  const allowed = [
    "shared/process/config.ts",
    "workers/dev/processes.ts",
    "workers/tools/status.ts",
    "workers/orders_main.ts",
  ];
  for (const path of [...allowed, "api/app_test.ts", "specs/support/a.ts"]) {
    assertEquals(broken(path, source), [], path);
  }
  assertEquals(broken("api/app.ts", "process.env.A;"), ["environment"]);
  assertEquals(broken("api/app.ts", "const { env } = Deno;"), ["environment"]);
  assertEquals(broken("api/app.ts", "Deno.exit(); environment.env;"), []);
});

Deno.test("layers/no-unsafe-sql allows sql.unsafe() to migrations and tests only", () => {
  const source = `await tx.unsafe("drop table t");`;
  assertEquals(broken("shared/sql/orders.ts", source), ["no-unsafe-sql"]);
  for (const path of ["shared/sql/migrate.ts", "shared/sql/orders_test.ts", "specs/support/a.ts"]) {
    assertEquals(broken(path, source), [], path);
  }
});

Deno.test("layers/no-bare-begin wants transactions that notice the loss of their connection", () => {
  const source = `await sql.begin(async (tx) => {});`;
  assertEquals(broken("workers/orders/a.ts", source), ["no-bare-begin"]);
  for (const path of ["shared/sql/connect.ts", "shared/sql/orders_test.ts", "specs/support/a.ts"]) {
    assertEquals(broken(path, source), [], path);
  }
});

Deno.test("layers/no-double-cast reports casts by way of unknown, in brackets or not", () => {
  assertEquals(broken("api/a.ts", "b as unknown as string;"), ["no-double-cast"]);
  assertEquals(broken("api/a_test.ts", "(b as unknown) as string;"), ["no-double-cast"]);
  assertEquals(broken("api/a.ts", "b as unknown; c as const; d as string;"), []);
});

Deno.test("layers/docstrings wants one right before every exported function", () => {
  const functions = [
    "function f() {}",
    "async function* f() {}",
    "const f = () => 1;",
    "const f = function () {};",
  ];
  for (const declaration of functions) {
    assertEquals(broken("api/a.ts", `export ${declaration}`), ["docstrings"], declaration);
    assertEquals(broken("api/a.ts", `/** Does. */\nexport ${declaration}`), [], declaration);
    assertEquals(broken("api/a_test.ts", `export ${declaration}`), [], declaration);
    assertEquals(broken("api/a.ts", declaration), [], declaration);
  }
  assertEquals(broken("api/a.ts", "export default function () {}"), ["docstrings"]);
  for (
    const comment of ["/** Of a. */\nlet a;", "/* No docstring. */", "/**\n * The file.\n * @module\n */"]
  ) {
    assertEquals(broken("api/a.ts", `${comment}\nexport function f() {}`), ["docstrings"], comment);
  }
});

Deno.test("layers/docstrings leaves types and constants to their names", () => {
  const others = [
    "const a = 1;",
    "const a = f(() => 1);",
    "type A = () => 1;",
    "interface A {}",
    "default {};",
  ];
  for (const declaration of others) {
    assertEquals(broken("api/a.ts", `export ${declaration}`), [], declaration);
  }
});

Deno.test("every problem says what to do instead", () => {
  const filename = fileURLToPath(new URL("../../shared/broker/a.ts", import.meta.url));
  const source = `import "../../api/a.ts";\nimport "../events.ts";\nsql.unsafe("");\nsql.begin();\n` +
    `export const f = () => Deno.env.get("A") as unknown as 1;`;
  const found = Deno.lint.runPlugin(plugin, filename, source);
  assertEquals(
    found.map(({ id }) => id.replace("layers/", "")).toSorted(),
    Object.keys(plugin.rules).toSorted(),
  );
  for (const { hint } of found) assertMatch(hint ?? "", /^[A-Z].+\.$/);
});
