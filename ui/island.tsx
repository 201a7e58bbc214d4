/**
 * What runs in the browser: takes over the page that the server has rendered, and keeps it live.
 *
 * @module
 */
import { hydrate } from "preact";
import type { LivePulse } from "../shared/ops/live.ts";
import { createApiClient } from "./api.ts";
import { App } from "./app.tsx";
import { applyStoredTheme } from "./controls.tsx";
import { createLiveStore, type LiveStore, type StreamHandlers } from "./live_store.ts";
import type { PageData } from "./page_data.ts";

/** A tab that nobody looks at gives up its connection after so many milliseconds: a browser has six for a host. */
const HIDDEN_MS = 10_000;

function openStream({ onOpen, onPulse, onLost }: StreamHandlers): () => void {
  const source = new EventSource("/ops/live");
  source.addEventListener("open", onOpen);
  source.addEventListener("pulse", ({ data }) => onPulse(String(data)));
  source.addEventListener("error", () => {
    // Given up for good: it was refused. Where that is for a cookie that is gone, the page asks for the token.
    if (source.readyState === EventSource.CLOSED) {
      void fetch("/ops/scenarios").then(({ status }) => status === 401 && askForToken(), () => {});
    }
    onLost();
  });
  return () => source.close();
}

/** The server answers this very address with the form, and afterwards with the page. */
function askForToken(): void {
  location.reload();
}

/** The pulse of a message; null where a server of another version means something else by it. */
function parsePulse(data: string): LivePulse | null {
  try {
    const pulse: LivePulse = JSON.parse(data);
    return Array.isArray(pulse.orders) && Array.isArray(pulse.processes) ? pulse : null;
  } catch {
    return null;
  }
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
  const api = createApiClient((...request) => fetch(...request), askForToken);
  hydrate(<App data={data} api={api} store={store} />, root);
  store.start();
  restWhileHidden(store);
}

applyStoredTheme();
const root = document.getElementById("app");
const state = document.getElementById("state")?.textContent;
// The block is the server's own rendering of the same code, so its shape is the type's.
if (root && state) takeOver(root, JSON.parse(state) as PageData);
