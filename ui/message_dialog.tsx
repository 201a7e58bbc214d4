/**
 * One message in full: an event of the outbox, or a dead letter as it was received, which can be edited.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { DeadLetterJson, OutboxEventJson, ProcessedEventJson } from "../shared/ops/answers.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { CopyButton } from "./controls.tsx";
import { Dialog } from "./dialog.tsx";
import { diffLines } from "./diff.ts";
import { counted, formatTime } from "./format.ts";
import { useFresh } from "./hooks.ts";
import { BodyView, laidOut, visible } from "./json_view.tsx";
import { Badge, Icon, OrderLink } from "./marks.tsx";
import { usePage } from "./page_data.ts";
import { PrepareButton } from "./send_again.tsx";

type Facts = readonly (readonly [name: string, value: ComponentChildren])[];

/** An event: where it has been, what it says, and sending it once more. */
export function EventDialog({ id }: { readonly id: string }) {
  const { api, queues } = usePage();
  const { value, problem, isLoading } = useFresh(async () => {
    const [event, { processedEvents }] = await Promise.all([
      api.readEvent(id),
      api.listInbox({ eventId: id, limit: 100 }),
    ]);
    return { event, processed: processedEvents };
  }, id);
  if (!value) return <Dialog title="Event" problem={problem} isReading={isLoading} />;
  const { event, processed } = value;
  return (
    <Dialog title={event.type}>
      <div class="message-columns">
        <div>
          <h3>Where it has been</h3>
          <FactList facts={wayOf(event, processed, queues)} />
          <h3>Properties and headers, as sent</h3>
          <FactList facts={amqpProperties(event)} />
        </div>
        <div>
          <h3>Envelope</h3>
          <BodyView body={JSON.stringify(event.payload)} />
        </div>
      </div>
      <div class="dialog-buttons">
        <span class="muted">
          Of order <OrderLink id={event.orderId} />
        </span>
        <PrepareButton of={() => api.prepareEvents({ eventId: id })}>Send again…</PrepareButton>
      </div>
    </Dialog>
  );
}

function wayOf(
  { type, occurredAt, publishedAt, retryCount, lastError }: OutboxEventJson,
  processed: readonly ProcessedEventJson[],
  queues: readonly StoryQueue[],
): Facts {
  const published = publishedAt
    ? `published ${formatTime(publishedAt, "milliseconds")}`
    : "not published yet";
  return [
    ["outbox", `appended ${formatTime(occurredAt, "milliseconds")}`],
    [
      "relay",
      retryCount > 0 ? `${published}, refused ${counted(retryCount, "time")}: ${lastError}` : published,
    ],
    ...queues.filter(({ bindings }) => bindings.includes(type)).map(({ name, label }) => {
      const row = processed.find(({ consumer }) => consumer === name);
      if (!row) return [label, "not processed: will process it"] as const;
      const words = `processed ${formatTime(row.processedAt, "milliseconds")} `;
      const repeats = row.duplicates > 0 &&
        <Badge tone="warn" icon="copies">{counted(row.duplicates, "repeat")} absorbed</Badge>;
      return [label, <span key="row">{words}{repeats}</span>] as const;
    }),
  ];
}

/** The AMQP properties and headers with which an event is published. */
function amqpProperties({ id, type, correlationId, occurredAt, traceparent }: OutboxEventJson): Facts {
  const traceId = traceparent?.split("-")[1];
  return [
    ["message-id", <CopyButton key="id" label="event id" value={id} />],
    ["type", type],
    ["correlation-id", <CopyButton key="correlation" label="correlation id" value={correlationId} />],
    ["timestamp", Math.floor(Date.parse(occurredAt) / 1000)], // AMQP's has whole seconds
    ["delivery-mode", "2 (persistent)"],
    ...(traceparent ? [["traceparent", traceparent] as const] : []),
    ...(traceId ? [["trace id", <CopyButton key="trace" label="trace id" value={traceId} />] as const] : []),
  ];
}

/** A dead letter: why it is one, what it says, sending it again, as it is or edited, and discarding it. */
export function LetterDialog({ id }: { readonly id: string }) {
  const { api } = usePage();
  const { value: letter, problem, isLoading } = useFresh(() => api.readLetter(id), id);
  const [draft, setDraft] = useState<string | null>(null);
  if (!letter) return <Dialog title="Dead letter" problem={problem} isReading={isLoading} />;
  const { state, reason, consumer, body, bodyBytes, editedBody } = letter;
  const original = laidOut(body);
  const isWhole = new TextEncoder().encode(body).byteLength === bodyBytes;
  return (
    <Dialog title="Dead letter">
      <p>
        <Badge tone={state === "OPEN" ? "bad" : ""} icon="letter">{state.toLowerCase()}</Badge>{" "}
        <b>{reason}</b> at {consumer}
      </p>
      <div class="message-columns">
        <FactList facts={letterFacts(letter)} />
        <div>
          <h3>{draft === null ? "Body, as received" : "Body, edited"}</h3>
          {draft === null ? <BodyView body={body} /> : (
            <textarea
              class="field mono"
              aria-label="Body, edited"
              rows={18}
              spellcheck={false}
              value={draft}
              onInput={(event) => setDraft(event.currentTarget.value)}
            />
          )}
        </div>
      </div>
      {draft !== null && <Difference before={original} after={draft} />}
      {editedBody !== null && <Difference before={original} after={laidOut(editedBody)} />}
      {state === "OPEN" && (
        <div class="dialog-buttons">
          {isWhole && (
            <button
              type="button"
              class="button"
              onClick={() => setDraft(draft === null ? original : null)}
            >
              {draft === null ? "Edit the body…" : "Leave it as received"}
            </button>
          )}
          {draft === null
            ? (
              <PrepareButton of={() => api.prepareLetters({ ids: [id] })}>
                Send again or discard…
              </PrepareButton>
            )
            : <SendEdited id={id} draft={draft} isChanged={draft !== original} />}
        </div>
      )}
    </Dialog>
  );
}

/** Sends the edited body to the letter's consumer; the server checks it as the consumer would. */
function SendEdited(
  { id, draft, isChanged }: { readonly id: string; readonly draft: string; readonly isChanged: boolean },
) {
  const { api } = usePage();
  const send = async () => ({ id: (await api.redriveEdited(id, draft)).setId });
  return (
    <PrepareButton of={send} isDisabled={!isChanged}>
      <Icon name="retry" />Send it as edited
    </PrepareButton>
  );
}

const DIFF_TONES = { " ": "", "-": "bad", "+": "good" } as const;

function Difference({ before, after }: { readonly before: string; readonly after: string }) {
  if (before === after) return <p class="muted">Nothing is changed yet.</p>;
  return (
    <>
      <h3>What is changed</h3>
      <pre class="json" aria-label="What is changed">
        {diffLines(before, after).map(([mark, line], i) => (
          <div key={i} class={DIFF_TONES[mark]}>{`${mark} ${visible(line)}`}</div>
        ))}
      </pre>
    </>
  );
}

function letterFacts(letter: DeadLetterJson): Facts {
  const { id, eventId, eventType, correlationId, orderId, firstFailedAt, lastFailedAt, resolvedAt } = letter;
  return [
    ["why", letter.detail],
    ["attempts", letter.attempts],
    ["event", eventType ?? "unreadable"],
    ["event id", eventId ?? "unreadable"],
    ["order", orderId ? <OrderLink key="order" id={orderId} /> : "unknown"],
    ["correlation id", correlationId ?? "unreadable"],
    ["letter id", <CopyButton key="letter" label="letter id" value={id} />],
    [
      "given up",
      lastFailedAt === firstFailedAt ? firstFailedAt : `first ${firstFailedAt}, last ${lastFailedAt}`,
    ],
    ...(resolvedAt === null ? [] : [["closed", `${resolvedAt}: ${letter.resolution}`] as const]),
  ];
}

function FactList({ facts }: { readonly facts: Facts }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
