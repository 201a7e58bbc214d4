/**
 * The dead letters as a table: why each was given up on, and redriving or discarding one or all that match.
 *
 * @module
 */
import { useState } from "preact/hooks";
import type { LetterSelection } from "./api_queries.ts";
import { type DeadLetterJson, LETTER_REASONS } from "../shared/ops/answers.ts";
import { DataTable } from "./data_table.tsx";
import { shortId } from "./format.ts";
import { choices, SelectField, TextField } from "./form_fields.tsx";
import { Icon, type IconName } from "./icon.tsx";
import { BodyView } from "./json_view.tsx";
import { LetterDialog, type LetterQuestion } from "./letter_dialog.tsx";
import { CONSUMER_NAMES } from "./machine_parts.ts";
import { counted } from "./number_format.ts";
import { OrderLink } from "./order_link.tsx";
import { When } from "./outbox_table.tsx";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { ResultLine } from "./result_line.tsx";
import { useRows, useSettled } from "./use_rows.ts";

const STATES = [
  { value: "OPEN", label: "Open" },
  { value: "REDRIVEN", label: "Redriven" },
  { value: "DISCARDED", label: "Discarded" },
  { value: "", label: "All" },
];

/** Lists the dead letters, newest first. */
export function DeadLettersTable({ api, pulse, isStale, onSelectOrder }: PanelProps): Rendered {
  const [filter, setFilter] = useState({ state: "OPEN", consumer: "", reason: "", orderId: "" });
  const [openKey, setOpen] = useState<string | null>(null);
  const [asked, setAsked] = useState<LetterQuestion | null>(null);
  const [result, setResult] = useState<string | null>(null);
  const selection: LetterSelection = {
    consumer: filter.consumer,
    reason: useSettled(filter.reason.trim()),
    orderId: useSettled(filter.orderId.trim()),
  };
  const query = { ...selection, state: filter.state };
  const rows = useRows(
    async (cursor) => {
      const { deadLetters, nextCursor } = await api.listDeadLetters({ ...query, cursor });
      return { rows: deadLetters, nextCursor };
    },
    JSON.stringify(query),
    { pulseAt: pulse?.at, isStale, isHeld: openKey !== null || asked !== null },
  );
  const offersAll = filter.state === "OPEN" && (rows.page?.rows.length ?? 0) > 0;

  return (
    <section class="card" aria-labelledby="letters-heading">
      <div class="card-head">
        <h2 id="letters-heading">Dead letters</h2>
        <p class="muted">
          Messages that a consumer gave up on, byte for byte. Nothing is lost: somebody decides.
        </p>
      </div>
      <form class="filters" aria-label="Filter the dead letters" onSubmit={(event) => event.preventDefault()}>
        <SelectField
          label="State"
          value={filter.state}
          options={STATES}
          onChange={(state) => setFilter({ ...filter, state })}
        />
        <SelectField
          label="Consumer"
          value={filter.consumer}
          options={choices("All consumers", CONSUMER_NAMES)}
          onChange={(consumer) => setFilter({ ...filter, consumer })}
        />
        <TextField
          label="Reason"
          type="search"
          value={filter.reason}
          suggestions={LETTER_REASONS}
          placeholder="any"
          onChange={(reason) => setFilter({ ...filter, reason })}
        />
        <TextField
          label="Order id"
          type="search"
          value={filter.orderId}
          placeholder="the whole id"
          onChange={(orderId) => setFilter({ ...filter, orderId })}
        />
        {offersAll && (
          <div class="filters-actions">
            <button type="button" class="button" onClick={() => setAsked({ kind: "redrive", selection })}>
              <Icon name="retry" />Redrive all that match
            </button>
            <button
              type="button"
              class="button danger"
              onClick={() => setAsked({ kind: "discard", selection })}
            >
              <Icon name="cross" />Discard all that match
            </button>
          </div>
        )}
      </form>
      <ResultLine text={result} onDismiss={() => setResult(null)} />
      <DataTable
        caption="Dead letters, newest first"
        rows={rows}
        isStale={isStale}
        openKey={openKey}
        onOpen={setOpen}
        keyOf={({ id }) => id}
        nameOf={(letter) => `dead letter ${shortId(letter.id)} of ${letter.consumer}`}
        empty={filter.state === "OPEN" ? "No dead letter waits for a decision." : "No dead letter matches."}
        columns={[
          { label: "State", cell: (letter) => <LetterState letter={letter} /> },
          {
            label: "Message",
            cell: ({ consumer, eventType }) => (
              <span class="two-lines">
                {eventType === null ? <i>unreadable</i> : <strong>{eventType}</strong>}
                <span class="muted">{consumer}</span>
              </span>
            ),
          },
          {
            label: "Reason",
            cell: ({ reason, attempts }) => (
              <span class="two-lines">
                <strong>{reason}</strong>
                <span class="muted">{counted(attempts, "attempt")}</span>
              </span>
            ),
          },
          {
            label: "Order",
            cell: ({ orderId }) =>
              orderId === null
                ? <span class="muted">unknown</span>
                : <OrderLink id={orderId} onSelect={onSelectOrder} />,
          },
          { label: "Given up", cell: ({ lastFailedAt }) => <When at={lastFailedAt} now={pulse?.at} /> },
        ]}
        detail={(letter) => <LetterDetail letter={letter} />}
        actions={(letter) =>
          letter.state === "OPEN" && (
            <>
              <button
                type="button"
                class="button small"
                onClick={() => setAsked({ kind: "redrive", letter })}
              >
                Redrive
              </button>
              <button
                type="button"
                class="button small danger"
                onClick={() => setAsked({ kind: "discard", letter })}
              >
                Discard
              </button>
            </>
          )}
      />
      {asked && (
        <LetterDialog
          api={api}
          question={asked}
          onClose={() => setAsked(null)}
          onDone={(words) => {
            setResult(words);
            setOpen(null);
            rows.refresh();
          }}
        />
      )}
    </section>
  );
}

const MARKS = {
  OPEN: { level: "bad", icon: "letter", word: "open" },
  REDRIVEN: { level: "good", icon: "retry", word: "redriven" },
  DISCARDED: { level: "", icon: "cross", word: "discarded" },
} as const satisfies Record<DeadLetterJson["state"], { level: string; icon: IconName; word: string }>;

function LetterState({ letter }: { readonly letter: DeadLetterJson }): Rendered {
  const { level, icon, word } = MARKS[letter.state];
  return (
    <span class={`badge ${level}`}>
      <Icon name={icon} />
      {word}
    </span>
  );
}

function LetterDetail({ letter }: { readonly letter: DeadLetterJson }): Rendered {
  const { id, eventId, correlationId, detail, firstFailedAt, lastFailedAt, resolvedAt, resolution } = letter;
  return (
    <div class="detail-body">
      <dl class="facts">
        <div>
          <dt>Why</dt>
          <dd>{detail}</dd>
        </div>
        <div>
          <dt>Letter id</dt>
          <dd class="mono">{id}</dd>
        </div>
        <div>
          <dt>Event id</dt>
          <dd class="mono">{eventId ?? "unreadable"}</dd>
        </div>
        <div>
          <dt>Correlation id</dt>
          <dd class="mono">{correlationId ?? "unreadable"}</dd>
        </div>
        <div>
          <dt>First given up</dt>
          <dd>{firstFailedAt}</dd>
        </div>
        {lastFailedAt !== firstFailedAt && (
          <div>
            <dt>Last given up</dt>
            <dd>{lastFailedAt}</dd>
          </div>
        )}
        {resolvedAt !== null && (
          <div>
            <dt>Closed</dt>
            <dd>{resolvedAt}: {resolution}</dd>
          </div>
        )}
      </dl>
      <div>
        <BodyView body={letter.body} />
      </div>
    </div>
  );
}
