/**
 * One event in full: its envelope, its headers, its trace, who processed it, and the button that has it sent again.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { traceIdOf } from "../shared/process/tracing.ts";
import type { ApiClient } from "./api_client.ts";
import type { OrderStoryJson, OutboxEventJson } from "../shared/ops/answers.ts";
import { ConfirmDialog } from "./confirm_dialog.tsx";
import { CopyButton } from "./copy_button.tsx";
import { amqpProperties, duplicatesOf } from "./event_facts.ts";
import { formatTime, plural } from "./format.ts";
import { Icon } from "./icon.tsx";
import { JsonView } from "./json_view.tsx";
import type { Rendered } from "./rendered.ts";

/** What the detail needs. */
export interface EventDetailProps {
  /** Reads the event and has it sent again. */
  readonly api: ApiClient;
  /** The event's id. */
  readonly eventId: string;
  /** The story that it is part of. */
  readonly story: OrderStoryJson;
  /** Reads the story until it shows something, for ten seconds at most. */
  readonly watch: (isDone: (story: OrderStoryJson) => boolean) => Promise<boolean>;
  /** Closes the detail. */
  readonly onClose: () => void;
}

/** Shows one event of a story. */
export function EventDetail({ api, eventId, story, watch, onClose }: EventDetailProps): Rendered {
  const { event, error } = useEvent(api, eventId);
  const [isAsking, setAsking] = useState(false);
  const [said, setSaid] = useState<{ tone: "good" | "warn"; text: string } | null>(null);
  const section = useRef<HTMLElement>(null);
  const entries = story.timeline.filter((entry) => entry.eventId === eventId);
  const type = entries[0]?.eventType ?? event?.type ?? "Event";

  useEffect(() => {
    setSaid(null);
    section.current?.scrollIntoView({ block: "nearest" });
  }, [eventId]);

  const republish = async () => {
    const before = duplicatesOf(story, eventId);
    const count = (await api.republish(eventId)).alreadyProcessedBy.length;
    setSaid({
      tone: "good",
      text: `Sent again. ${plural(count, "consumer")} had processed it and will absorb it.`,
    });
    if (count > 0) followRepeat(before + count);
  };

  const followRepeat = async (expected: number) => {
    const isAbsorbed = await watch((story) => duplicatesOf(story, eventId) >= expected);
    setSaid(
      isAbsorbed
        ? { tone: "good", text: "Sent again, and absorbed: nothing was done twice." }
        : { tone: "warn", text: "Sent again. No consumer has told of the duplicate within ten seconds." },
    );
  };

  return (
    <section
      class="card event-detail"
      aria-labelledby="event-title"
      ref={section}
    >
      <div class="card-head">
        <h3 id="event-title" class="mono">{type}</h3>
        <CopyButton label="event id" value={eventId} />
        <span class="card-actions">
          <button type="button" class="button small" onClick={() => setAsking(true)}>
            <Icon name="retry" />Republish
          </button>
          <button type="button" class="button quiet small" aria-label="Close the event" onClick={onClose}>
            <Icon name="cross" />
          </button>
        </span>
      </div>
      <p class={`event-said${said ? ` notice ${said.tone}` : ""}`} role="status">{said?.text}</p>
      {error && <p class="notice bad" role="alert">{error}</p>}
      <div class="event-columns">
        <div>
          <h4>What happened to it</h4>
          <EventHistory entries={entries} />
          {event && <EventHeaders event={event} />}
        </div>
        <div class="event-envelope">
          <h4>Envelope</h4>
          {event ? <JsonView value={event.payload} /> : !error && <p class="muted">Loading…</p>}
        </div>
      </div>
      {isAsking && (
        <ConfirmDialog
          title={`Publish ${type} again?`}
          action="Republish"
          onConfirm={republish}
          onClose={() => setAsking(false)}
        >
          <p>
            The relay sends it to every queue that it is bound for. Consumers that have processed it recognise
            it by its id and absorb it.
          </p>
        </ConfirmDialog>
      )}
    </section>
  );
}

function useEvent(api: ApiClient, eventId: string): { event: OutboxEventJson | null; error: string | null } {
  const [state, setState] = useState<{ id: string; event: OutboxEventJson | null; error: string | null }>(
    { id: eventId, event: null, error: null },
  );
  useEffect(() => {
    let isWanted = true;
    api.readEvent(eventId).then(
      (event) => isWanted && setState({ id: eventId, event, error: null }),
      (error: unknown) => {
        const words = error instanceof Error ? error.message : String(error);
        if (isWanted) setState({ id: eventId, event: null, error: words });
      },
    );
    return () => {
      isWanted = false;
    };
  }, [api, eventId]);
  return state.id === eventId ? state : { event: null, error: null };
}

const WHAT = {
  emitted: "appended to the outbox",
  published: "confirmed by the broker",
  processed: "processed by",
  duplicate: "duplicate absorbed by",
  retry: "failed at",
  status: "order became",
  "dead-letter": "given up on by",
} as const;

function EventHistory({ entries }: { readonly entries: OrderStoryJson["timeline"] }): Rendered {
  return (
    <ol class="event-history">
      {entries.map((entry) => (
        <li key={`${entry.kind} ${"consumer" in entry ? entry.consumer : ""}`}>
          <time class="mono muted" dateTime={entry.at}>{formatTime(entry.at, "milliseconds")}</time>
          <span>
            {WHAT[entry.kind]} {"consumer" in entry && <code>{entry.consumer}</code>}
            {entry.kind === "status" && <code>{entry.to}</code>}
            {entry.kind === "duplicate" && <strong>{` ×${entry.duplicates}`}</strong>}
            {entry.kind === "retry" && ` (retry ${entry.retries}): ${entry.error}`}
            {entry.kind === "dead-letter" && `: ${entry.reason}`}
          </span>
        </li>
      ))}
    </ol>
  );
}

function EventHeaders({ event }: { readonly event: OutboxEventJson }): Rendered {
  const traceId = traceIdOf(event.traceparent);
  return (
    <>
      <h4>Properties and headers, as sent</h4>
      <dl class="facts">
        {amqpProperties(event).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="mono">{value}</dd>
          </div>
        ))}
        {traceId && (
          <div>
            <dt>trace id</dt>
            <dd>
              <CopyButton label="trace id" value={traceId} />
            </dd>
          </div>
        )}
      </dl>
    </>
  );
}
