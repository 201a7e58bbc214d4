/**
 * Breakpoints: what is held, letting one event through, going on, and holding another part.
 *
 * @module
 */
import { RELAY_PART } from "../shared/ops/holds.ts";
import { formatTime } from "./format.ts";
import { partName } from "./health.ts";
import { useAction, useFresh } from "./hooks.ts";
import { Badge, Icon, Notice } from "./marks.tsx";
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
        <button type="submit" class="button" disabled={isHeld || isBusy}>
          <Icon name="pause" />Hold
        </button>
        {pulse.holds.length === 0 && problem === null && (
          <span class="muted">stops a part, so that one event at a time can be let through</span>
        )}
      </form>
      {pulse.holds.map(({ part, until, steps, because }) => {
        const name = partName(part, queues);
        return (
          <p key={part} class="actions">
            <Badge tone="warn" icon="pause">{name}</Badge>
            <button
              type="button"
              class="button primary"
              disabled={isBusy}
              aria-label={`Step: let one event through ${name}`}
              onClick={() => act(() => api.stepPart(part))}
            >
              <Icon name="step" />Step
            </button>
            <button
              type="button"
              class="button"
              disabled={isBusy}
              aria-label={`Resume ${name}`}
              onClick={() => act(() => api.resumePart(part))}
            >
              <Icon name="play" />Resume
            </button>
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
