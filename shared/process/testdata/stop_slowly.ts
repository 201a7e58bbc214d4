import { getLogger } from "@logtape/logtape";
import { aborted, stopOnSignals } from "../stop.ts";

{
  using stop = stopOnSignals(getLogger(["test"]), { supervised: true });
  console.log("listening");
  await aborted(stop.signal);
  await new Promise((resolve) => setTimeout(resolve, 600));
}
await new Promise((resolve) => setTimeout(resolve, 100));
