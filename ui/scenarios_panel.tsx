/**
 * The scenarios: one button each, with what to expect.
 *
 * @module
 */
import { useState } from "preact/hooks";
import type { ApiClient } from "./api_client.ts";
import type { ScenarioInfo } from "../shared/ops/answers.ts";
import { Icon, type IconName } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";

/** What the panel needs. */
export interface ScenariosPanelProps {
  /** Plays the scenarios. */
  readonly api: ApiClient;
  /** What can be played, in the order in which it is shown. */
  readonly scenarios: readonly ScenarioInfo[];
  /** Is told of each new order. */
  readonly onPlayed: (orderId: string) => void;
}

/** The group that stands in front, and the icons of its scenarios. */
const OUTCOMES = "Outcomes";
const OUTCOME_ICONS: Readonly<Record<string, IconName>> = {
  "order-success": "check",
  "payment-failure": "cross",
  "enrollment-failure": "back",
};

/** Places orders that go a known way; the new order is selected and followed. */
export function ScenariosPanel({ api, scenarios, onPlayed }: ScenariosPanelProps): Rendered {
  const [placing, setPlacing] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const play = async (name: string) => {
    setPlacing(name);
    setError(null);
    try {
      onPlayed((await api.playScenario(name)).id);
    } catch (reason) {
      setError(reason instanceof Error ? reason.message : String(reason));
    } finally {
      setPlacing(null);
    }
  };
  const groups = Map.groupBy(scenarios, ({ group }) => group);
  const others = [...groups].filter(([group]) => group !== OUTCOMES);
  const buttonOf = (scenario: ScenarioInfo) => (
    <li key={scenario.name}>
      <ScenarioButton
        scenario={scenario}
        isPlacing={placing === scenario.name}
        onPlay={() => placing === null && play(scenario.name)}
      />
    </li>
  );

  return (
    <section class="card scenarios" aria-labelledby="scenarios-title">
      <div class="card-head">
        <h2 id="scenarios-title">Scenarios</h2>
        <span class="muted">place an order that…</span>
      </div>
      <ul class="scenario-list is-main">{(groups.get(OUTCOMES) ?? []).map(buttonOf)}</ul>
      {error && <p class="notice bad" role="alert">{error}</p>}
      {others.length > 0 && (
        <details class="scenario-more">
          <summary>
            <Icon name="chevron" />
            Things that go wrong{" "}
            <span class="muted">{others.reduce((sum, [, list]) => sum + list.length, 0)}</span>
          </summary>
          {others.map(([group, list]) => (
            <details key={group} class="scenario-group">
              <summary>
                <Icon name="chevron" />
                {group} <span class="muted">{list.length}</span>
              </summary>
              <ul class="scenario-list">{list.map(buttonOf)}</ul>
            </details>
          ))}
        </details>
      )}
      <p class="scenario-lessons muted">
        To learn with them: twelve lessons, <code>specs/lessons/README.md</code>
      </p>
      <noscript>
        <p class="notice">Scenarios are played by the page's script, which does not run here.</p>
      </noscript>
    </section>
  );
}

function ScenarioButton(
  { scenario: { name, expect }, isPlacing, onPlay }: {
    readonly scenario: ScenarioInfo;
    readonly isPlacing: boolean;
    readonly onPlay: () => void;
  },
): Rendered {
  return (
    <button type="button" class={`scenario scenario-${name}`} aria-busy={isPlacing} onClick={onPlay}>
      <Icon name={OUTCOME_ICONS[name] ?? "play"} />
      <span class="scenario-name">{isPlacing ? "Placing the order…" : titleOf(name)}</span>
      <span class="scenario-expect">{expect}</span>
    </button>
  );
}

/** `payment-failure` as people write it. */
function titleOf(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
