// What runs in the browser: takes over the page that the server has rendered, and keeps it live.

import { hydrate } from "preact";
import { createApiClient } from "./api.ts";
import { App, applyTheme } from "./app.tsx";
import type { PageData } from "./page.tsx";

applyTheme();
const root = document.getElementById("app");
const state = document.getElementById("state")?.textContent;
if (root && state) {
  // The server answers this very address with the form where the cookie is gone, and afterwards with the page.
  const api = createApiClient((...request) => fetch(...request), () => location.reload());
  // The block is the server's own rendering of the same code, so its shape is the type's.
  hydrate(<App data={JSON.parse(state) as PageData} api={api} />, root);
}
