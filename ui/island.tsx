/**
 * What runs in the browser: takes over the page that the server has rendered, and keeps it live.
 *
 * @module
 */
import { hydrate } from "preact";
import { createApiClient } from "./api_client.ts";
import { App } from "./app.tsx";
import { parsePulse } from "./live_pulse.ts";
import { createLiveStore, type LiveStore, type StreamHandlers } from "./live_store.ts";
import type { PageData } from "./page_data.ts";
import { applyStoredTheme } from "./theme_toggle.tsx";

/** A tab that nobody looks at gives up its connection after so many milliseconds: a browser has six for a host. */
const HIDDEN_MS = 10_000;

function openStream({ onOpen, onPulse, onLost }: StreamHandlers): () => void {
  const source = new EventSource("/ops/live");
  source.addEventListener("open", onOpen);
  source.addEventListener("pulse", ({ data }) => onPulse(String(data)));
  source.addEventListener("error", onLost);
  return () => source.close();
}

function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

function restWhileHidden(store: LiveStore): void {
  let cancel = () => {};
  document.addEventListener("visibilitychange", () => {
    cancel();
    if (document.hidden) cancel = after(HIDDEN_MS, store.stop);
    else store.start();
  });
}

function takeOver(root: Element, data: PageData): void {
  const store = createLiveStore(data.pulse, {
    open: openStream,
    parse: parsePulse,
    onFrame: (run) => requestAnimationFrame(run),
    after,
    now: () => performance.now(),
  });
  hydrate(<App data={data} api={createApiClient((...request) => fetch(...request))} store={store} />, root);
  store.start();
  restWhileHidden(store);
}

applyStoredTheme();
const root = document.getElementById("app");
const state = document.getElementById("state")?.textContent;
// The block is the server's own rendering of the same code, so its shape is the type's.
if (root && state) takeOver(root, JSON.parse(state) as PageData);
