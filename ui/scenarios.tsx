/**
 * The scenarios as buttons: place an order that goes one of three ways, or break something on its way.
 *
 * @module
 */
import { useState } from "preact/hooks";
import type { ScenarioInfo } from "../shared/ops/answers.ts";
import { problemOf } from "./api.ts";
import { Icon, type IconName, Notice } from "./marks.tsx";
import { usePage } from "./page_data.ts";

export interface ScenariosProps {
  /** Is told of each new order, and of the scenario that it plays. */
  readonly onPlayed: (orderId: string, scenario: string) => void;
  readonly onFaults: () => void;
}

/** The group that stands in front, and the icons of its scenarios. */
const OUTCOMES = "Outcomes";
const OUTCOME_LOOKS: Readonly<Record<string, readonly [icon: IconName, tone: string]>> = {
  "order-success": ["check", "good"],
  "payment-failure": ["cross", "bad"],
  "enrollment-failure": ["back", "warn"],
};

export function Scenarios({ onPlayed, onFaults }: ScenariosProps) {
  const { api, scenarios } = usePage();
  const [placing, setPlacing] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const play = async (name: string) => {
    if (placing !== null) return;
    setPlacing(name);
    setError(null);
    try {
      onPlayed((await api.playScenario(name)).id, name);
    } catch (reason) {
      setError(problemOf(reason));
    } finally {
      setPlacing(null);
    }
  };
  const groups = Map.groupBy(scenarios, ({ group }) => group);
  const listOf = (list: readonly ScenarioInfo[]) => (
    <ul class="scenario-list">
      {list.map(({ name, expect }) => {
        const [icon, tone] = OUTCOME_LOOKS[name] ?? ["bolt", ""];
        return (
          <li key={name}>
            <button
              type="button"
              class={`scenario scenario-${name} ${tone}`}
              aria-busy={placing === name}
              onClick={() => play(name)}
            >
              <Icon name={icon} />
              <span>
                <b>{placing === name ? "Placing the order…" : titleOf(name)}</b>
                <small class="muted">{expect}</small>
              </span>
            </button>
          </li>
        );
      })}
    </ul>
  );
  const others = [...groups].filter(([group]) => group !== OUTCOMES);
  return (
    <section class="card scenarios" aria-labelledby="scenarios-title">
      <h2 id="scenarios-title" class="card-head">Place an order</h2>
      {listOf(groups.get(OUTCOMES) ?? [])}
      {error && <Notice level="bad">{error}</Notice>}
      <h3 class="scenario-head">Break it</h3>
      {others.map(([group, list]) => (
        <details key={group} class="scenario-group">
          <summary>
            <Icon name="chevron" />
            {group} <span class="muted">{list.length}</span>
          </summary>
          {listOf(list)}
        </details>
      ))}
      <button type="button" class="button quiet accent" onClick={onFaults}>
        <Icon name="bolt" />Arm a fault for whatever comes
      </button>
      <p class="card-foot muted">
        To learn with them: twelve lessons, <code>specs/lessons/README.md</code>
      </p>
      <noscript>
        <p class="notice">Scenarios are played by the page's script, which does not run here.</p>
      </noscript>
    </section>
  );
}

/** `payment-failure` as people write it. */
function titleOf(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
