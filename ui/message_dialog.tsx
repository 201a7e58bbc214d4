/**
 * One message in full: an event of the outbox, or a dead letter as it was received.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import type { DeadLetterJson, OutboxEventJson, ProcessedEventJson } from "../shared/ops/answers.ts";
import type { StoryQueue } from "../shared/ops/story.ts";
import { CopyButton } from "./controls.tsx";
import { Dialog, Question } from "./dialog.tsx";
import { counted, formatTime } from "./format.ts";
import { BodyView, JsonView } from "./json_view.tsx";
import { Badge, Icon, Notice, OrderLink } from "./marks.tsx";
import { usePage } from "./page_data.ts";
import { useLoaded } from "./use_rows.ts";

interface MessageProps {
  readonly id: string;
  readonly onClose: () => void;
}

type Facts = readonly (readonly [name: string, value: ComponentChildren])[];

/** How often, and how far apart in milliseconds, it is looked whether a repeat has been absorbed. */
const [LOOKS, LOOK_MS] = [20, 500];

/** An event: where it has been, what it says, and publishing it once more. */
export function EventDialog(
  { id, onDone, onClose }: MessageProps & { readonly onDone: () => void },
) {
  const { api, queues, done } = usePage();
  const readInbox = async () => (await api.listInbox({ eventId: id, limit: 100 })).processedEvents;
  const [read, problem] = useLoaded(async () => {
    const [event, processed] = await Promise.all([api.readEvent(id), readInbox()]);
    return { event, processed };
  }, `${id} ${done}`);
  if (!read) return <Unread what="Event" problem={problem} onClose={onClose} />;
  const { event, processed } = read;
  const { type, payload, orderId } = event;
  const isBound = queues.some(({ bindings }) => bindings.includes(type));

  async function sendAgain(): Promise<string> {
    const before = repeatsOf(processed);
    const { alreadyProcessedBy } = await api.republish(id);
    for (let look = 0; alreadyProcessedBy.length > 0 && look < LOOKS; look++) {
      const isAbsorbed = repeatsOf(await readInbox()) >= before + alreadyProcessedBy.length;
      if (isAbsorbed) {
        onDone();
        return "Sent again, and absorbed: nothing was done twice.";
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    onDone();
    return alreadyProcessedBy.length === 0
      ? "Sent again. No consumer had processed it yet."
      : "Sent again. No consumer has told of the repeat within ten seconds.";
  }

  return (
    <Dialog title={type} isWide onClose={onClose}>
      <div class="message-columns">
        <div>
          <h3>Where it has been</h3>
          <FactList facts={wayOf(event, processed, queues)} />
          <h3>Properties and headers, as sent</h3>
          <FactList facts={amqpProperties(event)} />
        </div>
        <div>
          <h3>Envelope</h3>
          <JsonView value={payload} />
        </div>
      </div>
      <Question action="Send again" onConfirm={sendAgain}>
        <p class="muted">
          Of order <OrderLink id={orderId} />. Sent again it has the same id: {isBound
            ? "who has processed it will absorb it, the others will process it."
            : "no queue is bound to it, so nobody here gets it."}
        </p>
      </Question>
    </Dialog>
  );
}

function repeatsOf(processed: readonly ProcessedEventJson[]): number {
  return processed.reduce((sum, { duplicates }) => sum + duplicates, 0);
}

function wayOf(
  { type, occurredAt, publishedAt, retryCount, lastError }: OutboxEventJson,
  processed: readonly ProcessedEventJson[],
  queues: readonly StoryQueue[],
): Facts {
  const published = publishedAt
    ? `last published ${formatTime(publishedAt, "milliseconds")}`
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

function Unread(
  { what, problem, onClose }: {
    readonly what: string;
    readonly problem: string | null;
    readonly onClose: () => void;
  },
) {
  return (
    <Dialog title={what} isWide onClose={onClose}>
      {problem === null ? <p role="status">Reading it…</p> : <Notice level="bad">{problem}</Notice>}
    </Dialog>
  );
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

export function LetterDialog({ id, onClose }: MessageProps) {
  const { api, send, done } = usePage();
  const [letter, problem] = useLoaded(() => api.readLetter(id), `${id} ${done}`);
  if (!letter) return <Unread what="Dead letter" problem={problem} onClose={onClose} />;
  const filter = { id };
  return (
    <Dialog title="Dead letter" isWide onClose={onClose}>
      <p>
        <LetterState letter={letter} /> <b>{letter.reason}</b> at {letter.consumer}
      </p>
      <div class="message-columns">
        <FactList facts={letterFacts(letter)} />
        <div>
          <h3>Body, as received</h3>
          <BodyView body={letter.body} />
        </div>
      </div>
      {letter.state === "OPEN" && (
        <div class="question-buttons">
          <button type="button" class="button danger" onClick={() => send({ filter, isDiscard: true })}>
            Discard…
          </button>
          <button type="button" class="button primary" onClick={() => send({ filter, isDiscard: false })}>
            <Icon name="retry" />Send again…
          </button>
        </div>
      )}
    </Dialog>
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

const LETTER_STATES = {
  OPEN: ["bad", "letter"],
  REDRIVEN: ["good", "retry"],
  DISCARDED: ["", "cross"],
} as const;

export function LetterState({ letter: { state } }: { readonly letter: DeadLetterJson }) {
  const [tone, icon] = LETTER_STATES[state];
  return <Badge tone={tone} icon={icon}>{state.toLowerCase()}</Badge>;
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
