// All tests, as `deno task test` runs them: on one Postgres, and the longest files first, so that none is left at the end
// with one core at rest. Arguments go to `deno test`; files among them are run instead of all.

import { connect } from "../../shared/sql/connect.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { MIGRATED, RUN_SERVER_VARIABLE, startTestServer } from "./test_schema.ts";

/** The files that take longest, the longest first. All others follow in the order of their names. */
const LONGEST = [
  "specs/lessons_test.ts",
  "specs/failure_matrix_test.ts",
  "specs/chaos/chaos_test.ts",
  "specs/contributing_test.ts",
  "specs/outage_test.ts",
  "workers/dev/main_test.ts",
  "specs/exactly_once_test.ts",
  "specs/fuzz_http_test.ts",
  "specs/model_test.ts",
];

/** More than the 200 of a single system: several run at once. */
const CONNECTIONS = "500";

async function runTests(args: readonly string[]): Promise<number> {
  await using resources = new AsyncDisposableStack();
  const env: Record<string, string> = {
    // Files at once: most of a test is waiting. On two cores a fifth less time than with one for each.
    DENO_JOBS: Deno.env.get("DENO_JOBS") || `${2 * navigator.hardwareConcurrency}`,
  };
  if (!Deno.env.get("DATABASE_URL")) {
    const server = await startTestServer({ max_connections: CONNECTIONS });
    resources.defer(() => server.stop());
    env[RUN_SERVER_VARIABLE] = server.url;
    await makeMigrated(server.url);
  }
  const longest = LONGEST.filter((file) => !args.includes(`--ignore=${file}`)); // a file that is named is not ignored
  const files = args.some((arg) => !arg.startsWith("-")) ? [] : [...longest, "."];
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-P", "--parallel", ...args, ...files],
    env,
  }).spawn().status;
  return code;
}

async function makeMigrated(server: string): Promise<void> {
  const sql = connect(server, { name: "tests", role: null, max: 1 });
  await sql`create database ${sql(MIGRATED)} template template0`.finally(() => sql.end());
  const url = new URL(server);
  url.pathname = MIGRATED;
  await migrate(url.href, { roles: true });
}

if (import.meta.main) {
  Deno.addSignalListener("SIGINT", () => {}); // the tests get it too, and end; then the server is stopped
  Deno.exit(await runTests(Deno.args));
}
