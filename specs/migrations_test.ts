// Migrations that old and new processes can share: none is changed once it is released, none takes away what the release
// before it uses, and a process works on a database that is ahead of it.

import { assertEquals } from "@std/assert";
import type { Sql } from "../shared/sql/connect.ts";
import { eventually } from "./support/eventually.ts";
import { callApi } from "./support/http.ts";
import { ledgerOf, readLedger, settled, violations } from "./support/ledger.ts";
import { mixedCourse, placeOrders } from "./support/place_orders.ts";
import { testBroker } from "./support/test_broker.ts";
import { ownSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

const folder = new URL("../shared/sql/migrations/", import.meta.url);
const migrations = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => /^\d/.test(name))
  .toSorted()
  .map((name) => ({ name: name.replace(".sql", ""), text: Deno.readTextFileSync(new URL(name, folder)) }));

/** The beginning of the SHA-256 of those that do not begin with it. No line ever changes. */
const RELEASED: Readonly<Record<string, string>> = {
  "001_tables": "0b9d5e05b66c5ab1",
  "002_idempotency_keys": "8f724aac3084c2a7",
  "003_dead_letter_resolutions": "ca1e5a5bc0b27c3e",
  "004_suspect_deliveries": "8697b218125b7590",
  "005_retention": "e5cafebbc1b52c2f",
  "006_inbox_duplicates": "9ac61d1adc54b02e",
  "007_delayed_retries": "b94d52f393805dae",
  "008_replays": "0fe72ff70a73ba3c",
  "009_faults": "ec98412131936bd1",
  "010_heartbeats": "ee88caf7f7ed1348",
  "011_outbox_fillfactor": "878cb77b277155c7",
  "012_dead_letter_traces": "8f6883efb23da061",
  "013_retry_sent_at": "3bbbe00e34277cb3",
  "014_reconciliation": "ed2fa3c6a54d93c1",
  "015_republished_at": "69efeb852cc7f1bb",
};

/** Written before this was checked. Nothing wrote what their new constraints forbid. */
const EXCUSED: readonly string[] = ["003_dead_letter_resolutions", "006_inbox_duplicates"];

Deno.test("a migration that was released is never changed", async () => {
  const found = await Promise.all(migrations.map(async ({ name, text }) => {
    const sealed = /^-- sha256 of what follows: (\w+)\n/.exec(text);
    const sealing = text.slice(sealed?.[0].length ?? 0);
    const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(sealing));
    const seal = new Uint8Array(hash).toHex().slice(0, 16);
    return seal === (RELEASED[name] ?? sealed?.[1]) ? [] : [`${name}: -- sha256 of what follows: ${seal}`];
  }));
  const wrong = found.flat();
  assertEquals(wrong, [], `a new one begins with its line, for a changed one write another: ${wrong.join()}`);
  const names = migrations.map(({ name }) => name);
  assertEquals(Object.keys(RELEASED).filter((name) => !names.includes(name)), [], "released, and gone");
});

Deno.test("no migration breaks the processes of the release before it", () => {
  const found = migrations.filter(({ name }) => !EXCUSED.includes(name)).flatMap(({ name, text }) =>
    breakingStatements(text).map((statement) => ({ name, ...statement }))
  );
  assertEquals(found, [], "see CONTRIBUTING.md: add first, remove in a later change");
});

Deno.test("breakingStatements() finds what takes something away, and lets pass what only adds", () => {
  const breaking = [
    "alter table orders drop column amount",
    "alter table orders rename column amount to price",
    "alter table orders alter amount set data type text using amount::text",
    "alter table orders alter column note set not null",
    "alter table orders add column a text, add column note text not null",
    "alter table orders add constraint positive check (amount > 0)",
    "create unique index orders_once on orders (user_id)",
    "delete from outbox_events",
    "revoke select on orders from orderflow_ops",
  ];
  for (const statement of breaking) assertEquals(breakingStatements(`${statement};`).length, 1, statement);
  const adding = [
    "alter table orders add column note text, add column n numeric(12, 2) not null default 0 check (n >= 0)",
    "alter table orders alter column note drop not null",
    "create table other (id uuid primary key, constraint c check (true)); create unique index o on other (id)",
    "create index orders_by_user on orders (user_id); -- drop; rename",
    "insert into notes values ('drop table orders;')",
    "-- not breaking: nobody has read it since version 2\nalter table orders drop column note",
  ];
  for (const text of adding) assertEquals(breakingStatements(`${text};`), [], text);
});

/** As a later release might: a column more on every table, with and without a default, another table, other roles. */
async function migrateAhead(sql: Sql): Promise<void> {
  const tables = await sql<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`;
  for (const { name } of tables) {
    await sql`alter table ${sql(name)} add column later jsonb, add column latest text not null default 'x'`;
  }
  await sql`create table later (id uuid primary key)`;
  await sql`insert into schema_migrations values ('999_later', now()), ('roles_ffffffffffffffff', now())`;
}

Deno.test("processes go on while a later release migrates, and start on a database that is ahead of them", async () => {
  await using db = await ownSchema();
  await using broker = await testBroker();
  await using stack = await startStack({}, { apart: [], services: { db, broker } });
  const load = placeOrders(stack.url, { orders: 600, connections: 8, courseOf: mixedCourse });
  await eventually("load", async () => (await db.sql`select from orders limit 1`).length > 0);
  await migrateAhead(db.sql);
  await load;
  for (const name of stack.processes) {
    await stack.stop(name);
    stack.start(name);
  }
  await eventually("the API to be ready", () => callApi("GET", `${stack.url}/readyz`), 30_000);
  await placeOrders(stack.url, { orders: 30, connections: 2 });
  await settled(stack);
  assertEquals(
    await readLedger(db.sql),
    ledgerOf({ success: 510, paymentFailure: 60, enrollmentFailure: 60 }),
  );
  const shown = JSON.stringify(await callApi("GET", `${stack.url}/ops/debug`));
  assertEquals(shown.includes("latest"), false);
  assertEquals([await violations(stack), stack.crashes], [[], []]);
});

/** What breaks processes that do not know of it, in a statement; the second part holds for tables that are older. */
const BREAKING: readonly (readonly [RegExp, string])[] = [
  [/\bdrop\s+(?!not\s+null\b)/, "drops what they use: remove it in a later release, once nobody does"],
  [/\brename\b/, "renames what they use: add the new name beside the old one"],
  [/\btruncate\b|\bdelete\s+from\b/, "deletes what they may still need"],
  [/\brevoke\b/, "takes a right from them"],
];
const BREAKING_OLD_TABLES: readonly (readonly [RegExp, string])[] = [
  [/\balter\s+(column\s+)?\S+\s+(set\s+data\s+)?type\b/, "changes a type: add a column of the new type"],
  [/\bset\s+not\s+null\b/, "demands a value that they may not write: do so in a later release"],
  [
    /\badd\s+(constraint|check|unique|primary|foreign|exclude)\b/,
    "checks what they write: do so in a later release",
  ],
  [
    /\badd\s+(?!constraint\b)(?![^,]*\b(default|generated)\b)[^,]*\bnot\s+null\b/,
    "adds a column that they do not write: give it a default, or let it be null",
  ],
  [/^create unique index\b/, "refuses what they write twice: do so in a later release"],
];

/** What a migration says in a comment before a statement that looks breaking and is not, with the reason. */
const EXCUSE = /--\s*not breaking:\s*\S+/;

/** The beginnings of the statements of a migration that break processes of the release before, with what to do. Pure. */
function breakingStatements(text: string): { statement: string; why: string }[] {
  const withoutTexts = text.replaceAll(/'(?:[^']|'')*'/g, "''");
  const created = new Set([...text.matchAll(/^create (?:unlogged )?table (\w+)/gm)].map(([, name]) => name));
  const statements = withoutTexts.replaceAll(/--.*/g, (comment) => comment.replaceAll(";", ",")).split(";");
  return statements.filter((raw) => !EXCUSE.test(raw)).flatMap((raw) => {
    // Within one pair of brackets a comma separates no actions: numeric(12, 2).
    const statement = raw.replaceAll(/--.*/g, "").replaceAll(/\([^()]*\)/g, "()").replaceAll(/\s+/g, " ")
      .trim()
      .toLowerCase();
    const [, table] = /^(?:alter table (?:if exists )?|create unique index .*? on )(\w+)/.exec(statement) ??
      [];
    const rules = table === undefined || created.has(table)
      ? BREAKING
      : [...BREAKING, ...BREAKING_OLD_TABLES];
    const found = rules.filter(([pattern]) => pattern.test(statement));
    return found.map(([, why]) => ({ statement: statement.slice(0, 60), why }));
  });
}
