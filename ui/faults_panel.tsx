/**
 * Faults: what is armed, everything that can be made to fail, and arming it.
 *
 * @module
 */
import { useState } from "preact/hooks";
import { ApiError, problemOf } from "./api_client.ts";
import type { FaultRequest } from "./api_queries.ts";
import { choices, SelectField, TextField } from "./form_fields.tsx";
import { Icon } from "./icon.tsx";
import { CONSUMER_NAMES } from "./machine_parts.ts";
import { counted } from "./number_format.ts";
import type { ArmedFaultJson, FaultPointJson, FaultsJson } from "../shared/ops/answers.ts";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { ResultLine } from "./result_line.tsx";
import { useRows } from "./use_rows.ts";

/** The most that a fault can be told to strike, and to delay in milliseconds: the API's rules. */
const [MAX_TIMES, MAX_DELAY_MS] = [1000, 60_000];

/** Shows what is armed, and lets an operator arm and disarm. */
export function FaultsPanel({ api, pulse, isStale }: PanelProps): Rendered {
  const [chosen, setChosen] = useState<string | null>(null);
  const [result, setResult] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const { page, problem: readProblem, refresh } = useRows<FaultsJson | "off">(
    async () => ({ rows: [await api.listFaults().catch(offOr)], nextCursor: null }),
    "faults",
    { pulseAt: pulse?.at, isStale, isHeld: false },
  );
  const faults = page?.rows[0];

  async function put(wanted: readonly FaultRequest[], words: string) {
    setProblem(null);
    try {
      await api.putFaults(wanted.map(requestOf));
      setResult(words);
      setChosen(null);
    } catch (error) {
      setProblem(problemOf(error));
    }
    refresh();
  }

  return (
    <section class="card" aria-labelledby="faults-heading">
      <div class="card-head">
        <h2 id="faults-heading">Faults</h2>
        <p class="muted">Makes the system fail on purpose, so that its recovery can be watched.</p>
      </div>
      {readProblem !== null && <p class="notice bad in-card" role="alert">{readProblem}</p>}
      {faults === undefined && readProblem === null && (
        <p class="empty" role="status">Reading what is armed…</p>
      )}
      {faults === "off" && (
        <div class="empty">
          <Icon name="offline" />
          <p>
            Faults are off here. They exist only where <code>FAULTS_ENABLED</code> is <code>true</code>{" "}
            for every process, which is no setting for production.
          </p>
        </div>
      )}
      <ResultLine text={result} onDismiss={() => setResult(null)} />
      {problem !== null && <p class="notice bad in-card" role="alert">{problem}</p>}
      {faults !== undefined && faults !== "off" && (
        <>
          <Armed
            armed={faults.armed}
            onDisarm={(fault) =>
              put(faults.armed.filter(({ id }) => id !== fault.id), `${fault.point} is disarmed.`)}
            onDisarmAll={() => put([], "Everything is disarmed.")}
          />
          <ul class="fault-points">
            {faults.points.map((point) => (
              <li key={point.point} class={chosen === point.point ? "fault-point open" : "fault-point"}>
                <div class="fault-head">
                  <code>{point.point}</code>
                  <button
                    type="button"
                    class="button small"
                    aria-expanded={chosen === point.point}
                    aria-label={`${chosen === point.point ? "Not now:" : "Arm"} ${point.point}`}
                    onClick={() =>
                      setChosen(chosen === point.point ? null : point.point)}
                  >
                    {chosen === point.point ? "Not now" : "Arm"}
                  </button>
                </div>
                <p class="muted">{point.what}</p>
                {chosen === point.point && (
                  <ArmForm
                    point={point}
                    onArm={(fault) =>
                      put(
                        [...faults.armed, fault],
                        `${fault.point} is armed, ${counted(fault.times, "time")}.`,
                      )}
                  />
                )}
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function offOr(error: unknown): "off" {
  if (error instanceof ApiError && error.status === 404) return "off";
  throw error;
}

function requestOf({ point, times, consumer, correlationId, delayMs }: FaultRequest): FaultRequest {
  return { point, times, consumer, correlationId, delayMs };
}

interface ArmedProps {
  readonly armed: readonly ArmedFaultJson[];
  readonly onDisarm: (fault: ArmedFaultJson) => void;
  readonly onDisarmAll: () => void;
}

function Armed({ armed, onDisarm, onDisarmAll }: ArmedProps): Rendered {
  if (armed.length === 0) return <p class="in-card muted">Nothing is armed.</p>;
  return (
    <div class="in-card armed">
      <div class="armed-head">
        <h3>Armed</h3>
        <button type="button" class="button small danger" onClick={onDisarmAll}>Disarm all</button>
      </div>
      <ul>
        {armed.map((fault) => (
          <li key={fault.id}>
            <span class="badge warn">
              <Icon name="clock" />
              {counted(fault.times, "time")}
            </span>
            <code>{fault.point}</code>
            <span class="muted">{narrowed(fault)}</span>
            <button
              type="button"
              class="button quiet small"
              aria-label={`Disarm ${fault.point}`}
              onClick={() => onDisarm(fault)}
            >
              <Icon name="cross" />
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function narrowed({ consumer, correlationId, delayMs }: ArmedFaultJson): string {
  return [
    consumer === null ? null : `at ${consumer}`,
    correlationId === null ? null : `for ${correlationId}`,
    delayMs === null ? null : `${delayMs} ms`,
  ].filter((part) => part !== null).join(", ");
}

interface ArmProps {
  readonly point: FaultPointJson;
  readonly onArm: (fault: FaultRequest) => void;
}

function ArmForm({ point, onArm }: ArmProps): Rendered {
  const [form, setForm] = useState({ times: "1", consumer: "", correlationId: "", delayMs: "" });
  const set = (field: keyof typeof form) => (value: string) => setForm({ ...form, [field]: value });
  const arm = (event: Event) => {
    event.preventDefault();
    onArm({
      point: point.point,
      times: Number(form.times),
      consumer: form.consumer || null,
      correlationId: form.correlationId.trim() || null,
      delayMs: form.delayMs === "" ? null : Number(form.delayMs),
    });
  };
  return (
    <form class="filters" aria-label={`Arm ${point.point}`} onSubmit={arm}>
      <TextField
        label="Times"
        type="number"
        min={1}
        max={MAX_TIMES}
        value={form.times}
        onChange={set("times")}
      />
      {point.perConsumer && (
        <SelectField
          label="Consumer"
          value={form.consumer}
          options={choices("Any consumer", CONSUMER_NAMES)}
          onChange={set("consumer")}
        />
      )}
      {point.delayMs !== null && (
        <TextField
          label="Delay in ms"
          type="number"
          min={0}
          max={MAX_DELAY_MS}
          placeholder={String(point.delayMs)}
          value={form.delayMs}
          onChange={set("delayMs")}
        />
      )}
      <TextField
        label="Correlation id"
        placeholder="any"
        value={form.correlationId}
        onChange={set("correlationId")}
      />
      <div class="filters-actions">
        <button type="submit" class="button primary">Arm</button>
      </div>
    </form>
  );
}
