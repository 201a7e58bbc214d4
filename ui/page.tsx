// The documents that the server sends: the page, with the data that it is made of, and the question for the token.

import { render } from "preact-render-to-string";
import type { OrdersPage, ScenarioInfo } from "../shared/ops/answers.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { createApiClient, type ToldStory } from "./api.ts";
import { App } from "./app.tsx";
import { Button, Field } from "./controls.tsx";
import { titleOf, type ViewState } from "./url_state.ts";

/** The addresses of the island's script and of the style sheet. */
interface PageAssets {
  readonly script: string;
  readonly styles: string;
}

/** Everything that the first paint shows, which the page's script finds again. */
export interface PageData {
  readonly view: ViewState;
  readonly pulse: LivePulse;
  /** The orders that the view's filters leave, at most as many as its limit. */
  readonly orders: OrdersPage;
  /** The story of the view's order; null where none is chosen, or there is no such order. */
  readonly story: ToldStory | null;
  readonly scenarios: readonly ScenarioInfo[];
  readonly queues: readonly StoryQueue[];
  /** Whether the server has a token, so that there is something to sign out of. */
  readonly hasToken: boolean;
  readonly assets: PageAssets;
}

/** The whole page as HTML: readable without its script, which finds in the block `state` what was rendered. */
export function renderPage(data: PageData): string {
  return document({
    title: titleOf(data.view),
    assets: data.assets,
    body: `<div id="app">${render(<App data={data} api={createApiClient(fetch)} />)}</div>` +
      `<script type="application/json" id="state">${embeddedJson(data)}</script>` +
      `<script type="module" src="${attribute(data.assets.script)}"></script>`,
  });
}

interface LoginProps {
  /** Whether the token that was given was wrong. */
  readonly failed: boolean;
  /** The address that was asked for, to go on with. */
  readonly next: string;
}

/** The page that asks for the token. */
export function renderLogin(
  { assets, ...login }: LoginProps & { readonly assets: PageAssets | null },
): string {
  return document({ title: "Sign in to OrderFlow", assets, body: render(<Login {...login} />) });
}

function Login({ failed, next }: LoginProps) {
  return (
    <main class="login">
      <form class="card" method="post" action="/login">
        <h1>OrderFlow</h1>
        <p class="muted">This instance shows its workings to those who know its token.</p>
        {failed && <p class="notice bad" role="alert">That is not the token. Try again.</p>}
        <input type="hidden" name="next" value={next} />
        <Field
          label="Token"
          name="token"
          type="password"
          autocomplete="current-password"
          required
          autofocus
        />
        <Button type="submit" look="primary">Sign in</Button>
        <p class="muted">
          It is the value of <code>OPS_TOKEN</code> in the API's environment.
        </p>
      </form>
    </main>
  );
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
function embeddedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

function attribute(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
}

const ICON = "data:image/svg+xml," + encodeURIComponent(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#3b5bdb"/>` +
    `<path d="M4 5h5M4 8h8M7 11h5" stroke="#fff" stroke-width="1.8" stroke-linecap="round"/></svg>`,
);
