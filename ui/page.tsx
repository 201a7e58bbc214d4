/**
 * The documents that the server sends: the page, and the question for the token.
 *
 * @module
 */
import { render } from "preact-render-to-string";
import { createApiClient } from "./api_client.ts";
import { App } from "./app.tsx";
import { LoginPage } from "./login_page.tsx";
import type { PageAssets, PageData } from "./page_data.ts";
import { titleOf } from "./url_state.ts";

/** The whole page as HTML: readable without its script, which finds in the block `state` what was rendered. */
export function renderPage(data: PageData): string {
  return document({
    title: titleOf(data.view),
    assets: data.assets,
    body: `<div id="app">${render(<App data={data} api={createApiClient(fetch)} store={null} />)}</div>` +
      `<script type="application/json" id="state">${embeddedJson(data)}</script>` +
      `<script type="module" src="${attribute(data.assets.script)}"></script>`,
  });
}

/** The page that asks for the token; `failed` says that the one given was wrong. */
export function renderLogin({ failed, assets }: { failed: boolean; assets?: PageAssets }): string {
  return document({
    title: "Sign in to OrderFlow",
    assets: assets ?? null,
    body: render(<LoginPage failed={failed} />),
  });
}

function document(
  { title, assets, body }: { title: string; assets: PageAssets | null; body: string },
): string {
  const styles = assets ? `<link rel="stylesheet" href="${attribute(assets.styles)}">` : "";
  return `<!doctype html><html lang="en"><head><meta charset="utf-8">` +
    `<meta name="viewport" content="width=device-width, initial-scale=1">` +
    `<meta name="color-scheme" content="light dark"><title>${title}</title>` +
    `<link rel="icon" href="${ICON}">${styles}</head><body>${body}</body></html>`;
}

/** JSON that no parser of HTML takes for anything but text, wherever the values come from. */
export function embeddedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

function attribute(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
}

const ICON = "data:image/svg+xml," + encodeURIComponent(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#3b5bdb"/>` +
    `<path d="M4 5h5M4 8h8M7 11h5" stroke="#fff" stroke-width="1.8" stroke-linecap="round"/></svg>`,
);
