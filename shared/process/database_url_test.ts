import { assertEquals, assertThrows } from "@std/assert";
import { databaseAddresses, parseDatabaseUrl } from "./database_url.ts";

Deno.test("parseDatabaseUrl() finds the servers, whatever form they have", () => {
  const servers: Record<string, unknown[]> = {
    "a": [{ host: "a", port: 5432 }],
    "a:6543": [{ host: "a", port: 6543 }],
    "[::1]:6543": [{ host: "::1", port: 6543 }],
    "a:1,[fe80::1],b:2": [{ host: "a", port: 1 }, { host: "fe80::1", port: 5432 }, { host: "b", port: 2 }],
    "%2Frun%2Fpg:6543": [{ path: "/run/pg/.s.PGSQL.6543" }],
    "": [{ host: "localhost", port: 5432 }],
    "/d?host=/run/pg&port=6543": [{ path: "/run/pg/.s.PGSQL.6543" }],
    "/d?host=a,b&port=1,2": [{ host: "a", port: 1 }, { host: "b", port: 2 }],
  };
  for (const [text, found] of Object.entries(servers)) {
    assertEquals([...parseDatabaseUrl(`postgres://u:p@${text}`).servers], found, text);
  }
});

Deno.test("parseDatabaseUrl() finds user, password and database, decoded, and how to speak with the server", () => {
  const { user, password, database, tls } = parseDatabaseUrl(
    "postgresql://ü%40:p%25%C3%A4:@@a,b/d%20b?sslmode=verify-full&target_session_attrs=primary&channel_binding=prefer",
  );
  assertEquals([user, password, database, tls], ["ü@", "p%ä:@", "d b", "verified"]);
  assertEquals(parseDatabaseUrl("postgres://a").tls, "off");
  assertEquals(databaseAddresses("postgres://a:1,[::1]:2,%2Frun"), ["a:1", "[::1]:2"]);
});

Deno.test("parseDatabaseUrl() refuses what could not be kept, and says what to have instead", () => {
  const faults: Record<string, string> = {
    "mysql://a/d": "must be a URL such as",
    "postgres://u:p#@a/d": "must be a URL such as",
    "postgres://u:p%ss@a/d": "must have each % of a user or password written as %25",
    "postgres://a:0/d": "must name each of its hosts",
    "postgres://a,,b/d": "must name each of its hosts",
    "postgres://::1/d": "must name each of its hosts",
    "postgres://a/d?channel_binding=require": "must have no other channel_binding than disable or prefer",
    "postgres://a/d?target_session_attrs=standby": "must have no other target_session_attrs than",
    "postgres://a/d?sslrootcert=/ca.pem": "that DENO_CERT names",
    "postgres://a/d?pgbouncer=true": 'must be without "pgbouncer"',
    "postgres://a/d?search_path=app": 'must be without "search_path"',
  };
  for (const [text, fault] of Object.entries(faults)) {
    assertThrows(() => parseDatabaseUrl(text), Error, fault, text);
  }
});
