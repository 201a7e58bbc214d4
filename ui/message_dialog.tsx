// One message in full: an event of the outbox, or a dead letter as it was received, which can be edited. Its body is shown in
// text nodes only: whatever it holds, nothing of it is ever markup.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { DeadLetterJson, OutboxEventJson, ProcessedEventJson } from "../shared/ops/answers.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { counted } from "../shared/words.ts";
import { Button, CopyButton, Dialog } from "./controls.tsx";
import { formatMillis } from "./format.ts";
import { useFresh, usePage } from "./hooks.ts";
import { Badge, OrderLink } from "./marks.tsx";
import { PrepareButton } from "./send_again.tsx";

type Facts = readonly (readonly [name: string, value: ComponentChildren])[];

/** An event: where it has been, what it says, and sending it once more. */
export function EventDialog({ id }: { readonly id: string }) {
  const { api, queues } = usePage();
  const read = () => Promise.all([api.readEvent(id), api.listInbox({ eventId: id, limit: 100 })]);
  const fresh = useFresh(read, id);
  if (!fresh.value) return <Dialog title="Event" of={fresh} />;
  const [event, { processedEvents }] = fresh.value;
  return (
    <Dialog title={event.type}>
      <div class="message-columns">
        <div>
          <h3>Where it has been</h3>
          <FactList facts={wayOf(event, processedEvents, queues)} />
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
  const published = publishedAt ? `published ${formatMillis(publishedAt)}` : "not published yet";
  const refused = retryCount > 0 ? `, refused ${counted(retryCount, "time")}: ${lastError}` : "";
  return [
    ["outbox", `appended ${formatMillis(occurredAt)}`],
    ["relay", published + refused],
    ...queues.filter(({ bindings }) => bindings.includes(type)).map(({ name, label }) => {
      const row = processed.find(({ consumer }) => consumer === name);
      if (!row) return [label, "not processed: will process it"] as const;
      const words = `processed ${formatMillis(row.processedAt)} `;
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
  const fresh = useFresh(() => api.readLetter(id), id);
  const letter = fresh.value;
  const [draft, setDraft] = useState<string | null>(null);
  if (!letter) return <Dialog title="Dead letter" of={fresh} />;
  const { state, reason, consumer, body, bodyBytes, editedBody } = letter;
  const original = laidOut(body);
  // The server checks it as the consumer would.
  const sendEdited = async () => ({ id: (await api.redriveEdited(id, draft ?? "")).setId });
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
            <Button onClick={() => setDraft(draft === null ? original : null)}>
              {draft === null ? "Edit the body…" : "Leave it as received"}
            </Button>
          )}
          {draft === null
            ? (
              <PrepareButton of={() => api.prepareLetters({ ids: [id] })}>
                Send again or discard…
              </PrepareButton>
            )
            : (
              <PrepareButton of={sendEdited} icon="retry" disabled={draft === original}>
                Send it as edited
              </PrepareButton>
            )}
        </div>
      )}
    </Dialog>
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

/** A line that is in both, was taken out, or was put in. */
type DiffLine = readonly [mark: " " | "-" | "+", line: string];

/**
 * All lines of both texts in order. What is alike at both ends stays; of the middle, lines are compared in pairs where there
 * are as many as before, which is what editing values leaves, and else it counts as replaced.
 */
export function diffLines(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const shorter = Math.min(a.length, b.length);
  let start = 0;
  while (start < shorter && a[start] === b[start]) start++;
  let end = 0;
  while (end < shorter - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const marked = (mark: DiffLine[0], lines: readonly string[]) => lines.map((line): DiffLine => [mark, line]);
  const [old, now] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const middle = old.length === now.length
    ? old.flatMap((line, i): DiffLine[] => {
      const other = now[i] ?? "";
      return line === other ? [[" ", line]] : [["-", line], ["+", other]];
    })
    : [...marked("-", old), ...marked("+", now)];
  return [...marked(" ", a.slice(0, start)), ...middle, ...marked(" ", a.slice(a.length - end))];
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

/** What has no place in a line of text: control characters, and those that turn the reading direction around. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** A body of this many characters is laid out in lines, a longer one could be deep; and what is shown of it at most. */
const [LAID_OUT, AT_MOST] = [2000, 20_000];

/** What a body is as JSON; undefined where it is none. */
function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** JSON in lines where it is short, any other text as it is. */
export function laidOut(body: string): string {
  const json = parsed(body);
  if (json === undefined) return body;
  const text = JSON.stringify(json);
  return text.length > LAID_OUT ? text : JSON.stringify(json, null, 2);
}

/** Shows the body of a message: as JSON where it is, else as text in which what is invisible can be seen. */
export function BodyView({ body }: { readonly body: string }) {
  const text = laidOut(body) || "(empty)";
  const more = text.length - AT_MOST;
  const isText = !body.includes("\ufffd");
  return (
    <>
      {parsed(body) === undefined && (
        <p class="muted">
          {isText ? "Not JSON." : "Neither JSON nor UTF-8: \ufffd stands for bytes that are no text."}
        </p>
      )}
      <pre class="json">
        {visible(text.slice(0, AT_MOST))}
        {more > 0 && ` … and ${more} characters more`}
      </pre>
    </>
  );
}

/** The text with everything invisible as an escape, such as `\u202e`. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
