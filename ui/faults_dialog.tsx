/**
 * Faults: what is armed, everything that can be made to fail, and arming it.
 *
 * @module
 */
import { useState } from "preact/hooks";
import type { ArmedFaultJson, FaultPointJson } from "../shared/ops/answers.ts";
import { type FaultRequest, problemOf } from "./api.ts";
import { Filter, NumberField } from "./controls.tsx";
import { Dialog } from "./dialog.tsx";
import { counted } from "./format.ts";
import { Badge, Icon, Notice } from "./marks.tsx";
import { usePage } from "./page_data.ts";
import { useRows } from "./use_rows.ts";

/** The most that a fault can be told to strike, and to delay in milliseconds: the API's rules. */
const [MAX_TIMES, MAX_DELAY_MS] = [1000, 60_000];

export function FaultsDialog({ onClose }: { readonly onClose: () => void }) {
  const { api, pulse } = usePage();
  const [said, setSaid] = useState<{ level: "good" | "bad"; words: string } | null>(null);
  const read = async () => ({ rows: [await api.listFaults()], nextCursor: null });
  const { rows, problem, refresh } = useRows(read, "faults", { tick: pulse.at, isHeld: false });
  const faults = rows?.[0];

  async function change(words: string, doing: () => Promise<unknown>) {
    try {
      await doing();
      setSaid({ level: "good", words });
    } catch (error) {
      setSaid({ level: "bad", words: problemOf(error) });
    }
    refresh();
  }

  return (
    <Dialog title="Faults" isWide onClose={onClose}>
      <p class="muted">They make the system fail on purpose, so that its recovery can be watched.</p>
      {problem !== null && <Notice level="bad">{problem}</Notice>}
      {faults === undefined && problem === null && <p role="status">Reading what is armed…</p>}
      {faults === null && (
        <p>
          Faults are off here. They exist only where <code>FAULTS_ENABLED</code> is <code>true</code>{" "}
          for every process, which is no setting for production.
        </p>
      )}
      {said && <Notice level={said.level}>{said.words}</Notice>}
      {faults && (
        <Armed
          armed={faults.armed}
          onDisarm={({ id, point }) => change(`${point} is disarmed.`, () => api.disarmFault(id))}
          onDisarmAll={() =>
            change(
              "Everything is disarmed.",
              () => Promise.all(faults.armed.map(({ id }) => api.disarmFault(id))),
            )}
        />
      )}
      <ul class="fault-points">
        {faults?.points.map((point) => (
          <li key={point.point}>
            <details>
              <summary>
                <code>{point.point}</code> <span class="muted">{point.what}</span>
              </summary>
              <ArmForm
                point={point}
                onArm={(fault) =>
                  change(`${fault.point} is armed, ${counted(fault.times, "time")}.`, () =>
                    api.armFault(fault))}
              />
            </details>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

interface ArmedProps {
  readonly armed: readonly ArmedFaultJson[];
  readonly onDisarm: (fault: ArmedFaultJson) => void;
  readonly onDisarmAll: () => void;
}

function Armed({ armed, onDisarm, onDisarmAll }: ArmedProps) {
  if (armed.length === 0) return <p class="muted">Nothing is armed.</p>;
  return (
    <ul class="armed" aria-label="Armed">
      {armed.map((fault) => (
        <li key={fault.id}>
          <Badge tone="warn" icon="clock">{counted(fault.times, "time")}</Badge>
          <code>{fault.point}</code>
          <span class="muted">
            {fault.consumer && `at ${fault.consumer} `}
            {fault.correlationId && `for ${fault.correlationId} `}
            {fault.delayMs !== null && `${fault.delayMs} ms`}
          </span>
          <button
            type="button"
            class="button quiet"
            aria-label={`Disarm ${fault.point}`}
            onClick={() => onDisarm(fault)}
          >
            <Icon name="cross" />
          </button>
        </li>
      ))}
      <li>
        <button type="button" class="button danger" onClick={onDisarmAll}>Disarm all</button>
      </li>
    </ul>
  );
}

interface ArmProps {
  readonly point: FaultPointJson;
  readonly onArm: (fault: FaultRequest) => void;
}

function ArmForm({ point: { point, perConsumer, delayMs }, onArm }: ArmProps) {
  const [form, setForm] = useState({ times: "1", consumer: "", correlation: "", delay: "" });
  const field = (name: keyof typeof form) => {
    return { value: form[name], onChange: (value: string) => setForm({ ...form, [name]: value }) };
  };
  const arm = (event: Event) => {
    event.preventDefault();
    onArm({
      point,
      times: Number(form.times),
      consumer: form.consumer || null,
      correlationId: form.correlation.trim() || null,
      delayMs: form.delay === "" ? null : Number(form.delay),
    });
  };
  return (
    <form class="filters" aria-label={`Arm ${point}`} onSubmit={arm}>
      <NumberField label="Times" min={1} max={MAX_TIMES} {...field("times")} />
      {perConsumer && <Filter name="consumer" {...field("consumer")} />}
      {delayMs !== null && (
        <NumberField
          label="Delay in ms"
          min={0}
          max={MAX_DELAY_MS}
          placeholder={`${delayMs}`}
          {...field("delay")}
        />
      )}
      <Filter name="correlation" {...field("correlation")} />
      <button type="submit" class="button primary">Arm</button>
    </form>
  );
}
