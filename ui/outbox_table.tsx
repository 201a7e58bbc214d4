/**
 * The outbox as a table: every event from its commit to the broker's confirm, and republishing one.
 *
 * @module
 */
import { useState } from "preact/hooks";
import type { OutboxEventJson, RepublishedJson } from "../shared/ops/answers.ts";
import { ConfirmDialog } from "./confirm_dialog.tsx";
import { DataTable } from "./data_table.tsx";
import { EVENT_TYPE_NAMES } from "./event_types.ts";
import { formatAge, formatDuration, formatTime, shortId } from "./format.ts";
import { choices, SelectField, TextField } from "./form_fields.tsx";
import { Icon } from "./icon.tsx";
import { JsonView } from "./json_view.tsx";
import { OrderLink } from "./order_link.tsx";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { ResultLine } from "./result_line.tsx";
import { useRows, useSettled } from "./use_rows.ts";

const PUBLISHED = [
  { value: "", label: "All" },
  { value: "false", label: "Waiting" },
  { value: "true", label: "Published" },
];

/** Lists the events of the outbox, newest first. */
export function OutboxTable({ api, pulse, isStale, onSelectOrder }: PanelProps): Rendered {
  const [filter, setFilter] = useState({ type: "", orderId: "", published: "" });
  const [openKey, setOpen] = useState<string | null>(null);
  const [asked, setAsked] = useState<OutboxEventJson | null>(null);
  const [result, setResult] = useState<string | null>(null);
  const orderId = useSettled(filter.orderId.trim());
  const query = {
    type: filter.type,
    orderId,
    published: filter.published === "" ? undefined : filter.published === "true",
  };
  const rows = useRows(
    async (cursor) => {
      const { events, nextCursor } = await api.listOutbox({ ...query, cursor });
      return { rows: events, nextCursor };
    },
    JSON.stringify(query),
    { pulseAt: pulse?.at, isStale, isHeld: openKey !== null || asked !== null },
  );

  return (
    <section class="card" aria-labelledby="outbox-heading">
      <div class="card-head">
        <h2 id="outbox-heading">Outbox</h2>
        <p class="muted">
          An event commits together with what it tells of, and waits here for the broker's confirm.
        </p>
      </div>
      <form class="filters" aria-label="Filter the outbox" onSubmit={(event) => event.preventDefault()}>
        <SelectField
          label="Type"
          value={filter.type}
          options={choices("All types", EVENT_TYPE_NAMES)}
          onChange={(type) => setFilter({ ...filter, type })}
        />
        <SelectField
          label="State"
          value={filter.published}
          options={PUBLISHED}
          onChange={(published) => setFilter({ ...filter, published })}
        />
        <TextField
          label="Order id"
          type="search"
          value={filter.orderId}
          placeholder="the whole id"
          onChange={(id) => setFilter({ ...filter, orderId: id })}
        />
      </form>
      <ResultLine text={result} onDismiss={() => setResult(null)} />
      <DataTable
        caption="Events of the outbox, newest first"
        rows={rows}
        isStale={isStale}
        openKey={openKey}
        onOpen={setOpen}
        keyOf={({ id }) => id}
        nameOf={({ type, id }) => `${type} ${shortId(id)}`}
        empty="No event matches. Play a scenario, or change the filter."
        columns={[
          { label: "Event", cell: ({ type }) => <strong>{type}</strong> },
          { label: "Id", cell: ({ id }) => <span class="mono" title={id}>{shortId(id)}</span> },
          { label: "Order", cell: (row) => <OrderLink id={row.orderId} onSelect={onSelectOrder} /> },
          { label: "Appended", cell: ({ occurredAt }) => <When at={occurredAt} now={pulse?.at} /> },
          { label: "Published", cell: (row) => <Published event={row} /> },
        ]}
        detail={(event) => <EventDetail event={event} />}
        actions={(event) => (
          <button type="button" class="button small" onClick={() => setAsked(event)}>
            <Icon name="retry" />Republish
          </button>
        )}
      />
      {asked && (
        <ConfirmDialog
          title={`Publish ${asked.type} once more?`}
          action="Republish"
          onClose={() => setAsked(null)}
          onConfirm={async () => {
            setResult(republishedWords(await api.republish(asked.id)));
            rows.refresh();
          }}
        >
          <p>
            The event goes to every queue that is bound to its type, with the same id. A consumer that has
            processed it absorbs the repeat: nothing happens twice.
          </p>
        </ConfirmDialog>
      )}
    </section>
  );
}

/** What republishing an event came to. */
export function republishedWords({ type, alreadyProcessedBy }: RepublishedJson): string {
  if (alreadyProcessedBy.length === 0) return `${type} is published again. No consumer has processed it yet.`;
  const who = alreadyProcessedBy.join(" and ");
  return `${type} is published again. ${who} processed it before, and will absorb the repeat.`;
}

/** A time of day with its age beside it. */
export function When({ at, now }: { readonly at: string; readonly now: string | undefined }): Rendered {
  return (
    <time dateTime={at} title={at}>
      {formatTime(at)}
      {now !== undefined && <span class="muted">{` ${formatAge(at, Date.parse(now))}`}</span>}
    </time>
  );
}

function Published({ event }: { readonly event: OutboxEventJson }): Rendered {
  const { occurredAt, publishedAt, retryCount } = event;
  const refused = retryCount > 0 && <span class="badge warn">refused {retryCount}×</span>;
  if (publishedAt === null) {
    return (
      <>
        {refused}{" "}
        <span class="badge warn">
          <Icon name="clock" />waits
        </span>
      </>
    );
  }
  const waited = Date.parse(publishedAt) - Date.parse(occurredAt);
  return (
    <>
      <span class="badge good">
        <Icon name="check" />after {formatDuration(waited)}
      </span>{" "}
      {refused}
    </>
  );
}

function EventDetail({ event }: { readonly event: OutboxEventJson }): Rendered {
  const { id, correlationId, traceparent, publishedAt, lastError, nextAttemptAt } = event;
  return (
    <div class="detail-body">
      <dl class="facts">
        <div>
          <dt>Event id</dt>
          <dd class="mono">{id}</dd>
        </div>
        <div>
          <dt>Correlation id</dt>
          <dd class="mono">{correlationId}</dd>
        </div>
        <div>
          <dt>Trace</dt>
          <dd class="mono">{traceparent ?? "none"}</dd>
        </div>
        <div>
          <dt>Published</dt>
          <dd>{publishedAt ?? "not yet"}</dd>
        </div>
        {lastError !== null && (
          <div>
            <dt>Last refusal</dt>
            <dd>{lastError}</dd>
          </div>
        )}
        {nextAttemptAt !== null && (
          <div>
            <dt>Next attempt</dt>
            <dd>{nextAttemptAt}</dd>
          </div>
        )}
      </dl>
      <JsonView value={event.payload} />
    </div>
  );
}
