// For tests: runs an embedded Postgres on the folder named by its argument, prints what happens a line each,
// ignores Ctrl-C, and stops once its standard input ends.
import { startPostgres } from "../postgres.ts";

Deno.addSignalListener("SIGINT", () => console.log("SIGINT"));
const server = await startPostgres({ dataDir: Deno.args[0] ?? "", onProgress: console.log, durable: false });
console.log(server.url);
for await (const _ of Deno.stdin.readable);
await server.stop();
Deno.exit();
