// The scenarios as buttons: place an order that goes one of three ways, or break something on its way.

import { useState } from "preact/hooks";
import type { ScenarioInfo } from "../shared/ops/answers.ts";
import { ViewLink } from "./controls.tsx";
import { useAction, usePage } from "./hooks.ts";
import { Icon, type IconName, Notice } from "./marks.tsx";
import { START_VIEW } from "./url_state.ts";

/** The group that stands in front, and the icons of its scenarios. */
const OUTCOMES = "Outcomes";
const OUTCOME_LOOKS: Readonly<Record<string, readonly [icon: IconName, tone: string]>> = {
  "order-success": ["check", "good"],
  "payment-failure": ["cross", "bad"],
  "enrollment-failure": ["back", "warn"],
};

/** Playing one opens its order, whose film starts by itself. */
export function Scenarios() {
  const { api, scenarios, navigate } = usePage();
  const [placing, setPlacing] = useState<string | null>(null);
  const { isBusy, problem, act } = useAction();
  const play = (played: string) => {
    if (isBusy) return;
    setPlacing(played);
    void act(async () => {
      const { id } = await api.playScenario(played);
      navigate({ ...START_VIEW, order: id, played, beat: 1 });
    });
  };
  const { [OUTCOMES]: outcomes = [], ...others } = Object.groupBy(scenarios, ({ group }) => group);
  const listOf = (list: readonly ScenarioInfo[]) => (
    <ul class="scenario-list">
      {list.map(({ name, expect }) => {
        const [icon, tone] = OUTCOME_LOOKS[name] ?? ["bolt", ""];
        return (
          <li key={name}>
            <button
              type="button"
              class={`scenario scenario-${name} ${tone}`}
              aria-busy={isBusy && placing === name}
              onClick={() => play(name)}
            >
              <Icon name={icon} />
              <span>
                <b>{isBusy && placing === name ? "Placing the order…" : titleOf(name)}</b>
                <small class="muted">{expect}</small>
              </span>
            </button>
          </li>
        );
      })}
    </ul>
  );
  return (
    <section class="card scenarios" aria-labelledby="scenarios-title">
      <h2 id="scenarios-title" class="card-head">Place an order</h2>
      {listOf(outcomes)}
      {problem !== null && <Notice level="bad">{problem}</Notice>}
      <h3 class="scenario-head">Break it</h3>
      {Object.entries(others).map(([group, list = []]) => (
        <details key={group} class="scenario-group">
          <summary>
            <Icon name="chevron" />
            {group} <span class="muted">{list.length}</span>
          </summary>
          {listOf(list)}
        </details>
      ))}
      <ViewLink class="button quiet accent" to={{ panel: "faults" }}>
        <Icon name="bolt" />Arm a fault for whatever comes
      </ViewLink>
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
