// Breakpoints: what is held, letting one event through, going on, and holding another part.

import { partName } from "../shared/ops/health.ts";
import { RELAY_PART } from "../shared/ops/holds.ts";
import { Button } from "./controls.tsx";
import { formatTime } from "./format.ts";
import { useAction, useFresh } from "./hooks.ts";
import { Badge, Notice } from "./marks.tsx";
import { usePage } from "./page_data.ts";

interface HoldsProps {
  /** The part that is to be held next. */
  readonly part: string;
  readonly onPick: (part: string) => void;
}

export function Holds({ part, onPick }: HoldsProps) {
  const { api, pulse, queues } = usePage();
  const { isBusy, problem, act } = useAction();
  const parts = useFresh(() => api.listHolds(), "parts").value?.parts ?? [RELAY_PART];
  const isHeld = pulse.holds.some((hold) => hold.part === part);
  const hold = (event: Event) => {
    event.preventDefault();
    void act(() => api.holdPart(part));
  };
  return (
    <div class="holds" role="group" aria-label="Breakpoints">
      <form class="actions" onSubmit={hold}>
        <label>
          <span class="visually-hidden">What to hold</span>
          <select class="field" value={part} onChange={(event) => onPick(event.currentTarget.value)}>
            {parts.map((each) => <option key={each} value={each}>{partName(each, queues)}</option>)}
          </select>
        </label>
        <Button type="submit" icon="pause" disabled={isHeld || isBusy}>Hold</Button>
        {pulse.holds.length === 0 && problem === null && (
          <span class="muted">stops a part, so that one event at a time can be let through</span>
        )}
      </form>
      {pulse.holds.map(({ part, until, steps, because }) => {
        const name = partName(part, queues);
        return (
          <p key={part} class="actions">
            <Badge tone="warn" icon="pause">{name}</Badge>
            <Button
              look="primary"
              icon="step"
              disabled={isBusy}
              aria-label={`Step: let one event through ${name}`}
              onClick={() => act(() => api.stepPart(part))}
            >
              Step
            </Button>
            <Button
              icon="play"
              disabled={isBusy}
              aria-label={`Resume ${name}`}
              onClick={() => act(() => api.resumePart(part))}
            >
              Resume
            </Button>
            <span class="muted">
              {steps > 0 && `${steps} to be let through · `}
              {because && `${because} · `}
              goes on by itself at {formatTime(until).slice(0, 5)} UTC
            </span>
          </p>
        );
      })}
      {problem !== null && <Notice level="bad">{problem}</Notice>}
    </div>
  );
}
