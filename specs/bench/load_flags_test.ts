import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../workers/tools/command.ts";
import { readLoadFlags, USAGE } from "./load_flags.ts";

const database = "postgres://postgres@127.0.0.1:5432/orderflow";

Deno.test("the flags stand as they are given, or as the usage says", () => {
  const fallback = {
    url: "http://127.0.0.1:8000",
    orders: 2000,
    connections: 16,
    rate: undefined,
    json: false,
  };
  assertEquals(readLoadFlags([], database), { ...fallback, database });
  assertEquals(readLoadFlags(["--no-wait"], database), { ...fallback, database: null });
  const args = [
    "--url=http://[::1]:80",
    `--database=${database}`,
    "--orders=9",
    "--connections=3",
    "--rate=70",
    "--json",
  ];
  assertEquals(readLoadFlags(args, "postgres://elsewhere/"), {
    url: "http://[::1]:80",
    database,
    orders: 9,
    connections: 3,
    rate: 70,
    json: true,
  });
  assertEquals(readLoadFlags(["--help", "--orders=none"], undefined), null);
});

Deno.test("every flag is in the usage", () => {
  for (const flag of ["url", "database", "orders", "connections", "rate", "no-wait", "json", "help"]) {
    assertEquals(USAGE.includes(`--${flag} `), true, flag);
  }
});

Deno.test("a wrong flag is named with what it takes", () => {
  const wrong: readonly [string, string][] = [
    ["--orders=0", "--orders must be a whole number from 1 to 1000000"],
    ["--connections=1e2", "--connections must be a whole number from 1 to 1000"],
    ["--rate=-5", "--rate must be a whole number"],
    ["--url=https://127.0.0.1", "--url must be an http:// URL"],
    ["--database=mysql://x", "--database must be a postgres:// URL"],
    ["--ordrs=5", "There is no flag --ordrs"],
    ["--json", "give --database or DATABASE_URL, or --no-wait"],
  ];
  for (const [flag, why] of wrong) assertThrows(() => readLoadFlags([flag], undefined), UsageError, why);
});
