/**
 * The inbox as a table: who has processed which event, and which repeats were absorbed.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { type ApiClient, problemOf } from "./api_client.ts";
import type { OutboxEventJson } from "../shared/ops/answers.ts";
import { DataTable } from "./data_table.tsx";
import { formatTime, shortId } from "./format.ts";
import { choices, SelectField, TextField } from "./form_fields.tsx";
import { Icon } from "./icon.tsx";
import { JsonView } from "./json_view.tsx";
import { CONSUMER_NAMES } from "./machine_parts.ts";
import { counted } from "./number_format.ts";
import { OrderLink } from "./order_link.tsx";
import { When } from "./outbox_table.tsx";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { useRows, useSettled } from "./use_rows.ts";

/** Lists the rows of the inbox, those of the newest events first. */
export function InboxTable({ api, pulse, isStale, onSelectOrder }: PanelProps): Rendered {
  const [filter, setFilter] = useState({ consumer: "", eventId: "" });
  const [openKey, setOpen] = useState<string | null>(null);
  const eventId = useSettled(filter.eventId.trim());
  const query = { consumer: filter.consumer, eventId };
  const rows = useRows(
    async (cursor) => {
      const { processedEvents, nextCursor } = await api.listInbox({ ...query, cursor });
      return { rows: processedEvents, nextCursor };
    },
    JSON.stringify(query),
    { pulseAt: pulse?.at, isStale, isHeld: openKey !== null },
  );

  return (
    <section class="card" aria-labelledby="inbox-heading">
      <div class="card-head">
        <h2 id="inbox-heading">Processed events</h2>
        <p class="muted">
          One row for each event and consumer, committed with the effect. It is what absorbs a repeat.
        </p>
      </div>
      <form
        class="filters"
        aria-label="Filter the processed events"
        onSubmit={(event) => event.preventDefault()}
      >
        <SelectField
          label="Consumer"
          value={filter.consumer}
          options={choices("All consumers", CONSUMER_NAMES)}
          onChange={(consumer) => setFilter({ ...filter, consumer })}
        />
        <TextField
          label="Event id"
          type="search"
          value={filter.eventId}
          placeholder="the whole id"
          onChange={(id) => setFilter({ ...filter, eventId: id })}
        />
      </form>
      <DataTable
        caption="Processed events, those of the newest events first"
        rows={rows}
        isStale={isStale}
        openKey={openKey}
        onOpen={setOpen}
        keyOf={(row) => `${row.eventId} ${row.consumer}`}
        nameOf={(row) => `event ${shortId(row.eventId)} of ${row.consumer}`}
        empty="Nothing has been processed that matches."
        columns={[
          {
            label: "Event",
            cell: (row) => <span class="mono" title={row.eventId}>{shortId(row.eventId)}</span>,
          },
          { label: "Consumer", cell: ({ consumer }) => consumer },
          { label: "Processed", cell: ({ processedAt }) => <When at={processedAt} now={pulse?.at} /> },
          {
            label: "Repeats absorbed",
            cell: ({ duplicates, lastDuplicateAt }) =>
              duplicates === 0 ? <span class="muted">none</span> : (
                <>
                  <span class="badge info">
                    <Icon name="copies" />
                    {counted(duplicates, "duplicate")}
                  </span>
                  {lastDuplicateAt && <span class="muted">{` last ${formatTime(lastDuplicateAt)}`}</span>}
                </>
              ),
          },
        ]}
        detail={(row) => <EventOf api={api} eventId={row.eventId} onSelectOrder={onSelectOrder} />}
      />
    </section>
  );
}

/** The event that a row is about, which the outbox has. */
function EventOf(
  { api, eventId, onSelectOrder }: {
    readonly api: ApiClient;
    readonly eventId: string;
    readonly onSelectOrder: (orderId: string) => void;
  },
): Rendered {
  const [event, setEvent] = useState<OutboxEventJson | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    let isWanted = true;
    api.readEvent(eventId).then(
      (read) => isWanted && setEvent(read),
      (error) => isWanted && setProblem(problemOf(error)),
    );
    return () => {
      isWanted = false;
    };
  }, [eventId]);
  if (problem !== null) return <p class="notice bad" role="alert">{problem}</p>;
  if (event === null) return <p class="muted" role="status">Reading the event…</p>;
  return (
    <div class="detail-body">
      <dl class="facts">
        <div>
          <dt>Type</dt>
          <dd>{event.type}</dd>
        </div>
        <div>
          <dt>Event id</dt>
          <dd class="mono">{event.id}</dd>
        </div>
        <div>
          <dt>Order</dt>
          <dd>
            <OrderLink id={event.orderId} onSelect={onSelectOrder} />
          </dd>
        </div>
        <div>
          <dt>Correlation id</dt>
          <dd class="mono">{event.correlationId}</dd>
        </div>
      </dl>
      <JsonView value={event.payload} />
    </div>
  );
}
