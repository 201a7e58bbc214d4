// Logs two lines, and ends as its argument says.

import { startLog } from "../log.ts";
import { aborted, stopOnSignals } from "../stop.ts";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const log = await startLog("test", { LOG_LEVEL: "info", LOG_FORMAT: "pretty" });
log.info("First", { n: 1 });
log.info("Second");
const [end] = Deno.args;
if (end === "goes on") {
  log.info("None", { n: 3n });
  await sleep(100);
  console.error("went on");
}
if (end === "slowly, when asked") {
  {
    using stop = stopOnSignals(log, { supervised: true });
    console.log("listening");
    await aborted(stop.signal);
    await sleep(600);
  }
  await sleep(100);
}
if (end === "throw") throw new Error("thrown");
if (end === "reject") Promise.reject(new Error("rejected"));
if (end === "exit") Deno.exit(3);
if (end === "killed after a warning") log.warning("Third");
if (end?.startsWith("killed")) Deno.kill(Deno.pid, "SIGKILL");
