/**
 * The question for the token, where the server has one.
 *
 * @module
 */
import type { Rendered } from "./rendered.ts";

/** Asks for the token; works without any script. */
export function LoginPage({ failed }: { readonly failed: boolean }): Rendered {
  return (
    <main class="login">
      <form class="card login-form" method="post" action="/login">
        <h1>OrderFlow</h1>
        <p class="muted">This instance shows its workings to those who know its token.</p>
        {failed && <p class="notice bad" role="alert">That is not the token. Try again.</p>}
        <label for="token">Token</label>
        <input
          class="field"
          id="token"
          name="token"
          type="password"
          autocomplete="current-password"
          required
          autofocus
        />
        <button class="button primary" type="submit">Sign in</button>
        <p class="muted small">
          It is the value of <code>OPS_TOKEN</code> in the API's environment.
        </p>
      </form>
    </main>
  );
}
