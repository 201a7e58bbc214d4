/**
 * Replays: say which events, see what that would send, start it, watch it, cancel it.
 *
 * @module
 */
import { useState } from "preact/hooks";
import { problemOf } from "./api_client.ts";
import { EVENT_TYPE_NAMES } from "./event_types.ts";
import { choices, SelectField, TextField } from "./form_fields.tsx";
import { Icon } from "./icon.tsx";
import { CONSUMER_NAMES } from "./machine_parts.ts";
import type { ReplayJson } from "../shared/ops/answers.ts";
import { When } from "./outbox_table.tsx";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { filterWords, ReplayState, ReplayView } from "./replay_view.tsx";
import { useRows } from "./use_rows.ts";

const EMPTY = { type: "", consumer: "", from: "", to: "", orderId: "", correlationId: "" };

/** Lets an operator send published events to their consumers once more. */
export function ReplayPanel({ api, pulse, isStale, onSelectOrder }: PanelProps): Rendered {
  const [form, setForm] = useState(EMPTY);
  const [shown, setShown] = useState<ReplayJson | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const replays = useRows(
    async (cursor) => {
      const { replays, nextCursor } = await api.listReplays({ cursor, limit: 10 });
      return { rows: replays, nextCursor };
    },
    "replays",
    { pulseAt: pulse?.at, isStale, isHeld: false },
  );
  const isEmpty = Object.values(form).every((value) => value.trim() === "");
  const set = (field: keyof typeof EMPTY) => (value: string) => setForm({ ...form, [field]: value });

  async function prepare(event: Event) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      setShown(await api.prepareReplay({ ...form, from: utc(form.from), to: utc(form.to) }));
      replays.refresh();
    } catch (error) {
      setProblem(problemOf(error));
    } finally {
      setBusy(false);
    }
  }

  return (
    <section class="card" aria-labelledby="replay-heading">
      <div class="card-head">
        <h2 id="replay-heading">Replay</h2>
        <p class="muted">
          Sends published events to their consumers once more. A consumer that has processed one absorbs it.
        </p>
      </div>
      <form class="filters" aria-label="What to replay" onSubmit={prepare}>
        <SelectField
          label="Type"
          value={form.type}
          options={choices("All types", EVENT_TYPE_NAMES)}
          onChange={set("type")}
        />
        <SelectField
          label="Consumer"
          value={form.consumer}
          options={choices("All consumers", CONSUMER_NAMES)}
          onChange={set("consumer")}
        />
        <TextField label="From (UTC)" type="datetime-local" value={form.from} onChange={set("from")} />
        <TextField label="To (UTC)" type="datetime-local" value={form.to} onChange={set("to")} />
        <TextField
          label="Order id"
          value={form.orderId}
          placeholder="the whole id"
          onChange={set("orderId")}
        />
        <TextField label="Correlation id" value={form.correlationId} onChange={set("correlationId")} />
        <div class="filters-actions">
          <button type="submit" class="button primary" disabled={isBusy || isEmpty}>
            {isBusy ? "Counting…" : "Dry run"}
          </button>
          <span class="muted">{isEmpty ? "Fill in at least one field." : "A dry run sends nothing."}</span>
        </div>
      </form>
      {problem !== null && <p class="notice bad in-card" role="alert">{problem}</p>}
      {shown && (
        <ReplayView
          key={shown.id}
          api={api}
          initial={shown}
          onChange={replays.refresh}
          onClose={() => setShown(null)}
          onSelectOrder={onSelectOrder}
        />
      )}
      <h3 class="in-card">Earlier replays</h3>
      {replays.problem !== null && <p class="notice bad in-card" role="alert">{replays.problem}</p>}
      {replays.page?.rows.length === 0 && <p class="empty">None yet. A dry run is the first step.</p>}
      <ul class="replays">
        {replays.page?.rows.map((replay) => (
          <li key={replay.id}>
            <button type="button" class="replay-row" onClick={() => setShown(replay)}>
              <ReplayState replay={replay} />
              <span class="replay-what">{filterWords(replay)}</span>
              <span class="muted">{replay.sent} of {replay.total} sent</span>
              <When at={replay.createdAt} now={pulse?.at} />
              <Icon name="chevron" />
            </button>
          </li>
        ))}
      </ul>
      {(replays.pageNumber > 1 || replays.page?.nextCursor) && (
        <div class="table-foot">
          <span></span>
          <span class="table-pages">
            <button
              type="button"
              class="button small"
              disabled={replays.pageNumber === 1}
              onClick={replays.newer}
            >
              <Icon name="left" />Newer
            </button>
            <button
              type="button"
              class="button small"
              disabled={!replays.page?.nextCursor}
              onClick={replays.older}
            >
              Older<Icon name="chevron" />
            </button>
          </span>
        </div>
      )}
    </section>
  );
}

/** What a field of a local time holds, taken as UTC, which is what the page shows everywhere. */
function utc(local: string): string | undefined {
  if (local === "") return undefined;
  return /:\d\d:\d\d/.test(local) ? `${local}Z` : `${local}:00Z`;
}
