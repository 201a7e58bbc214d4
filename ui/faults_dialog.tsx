// Faults: what is armed, everything that can be made to fail, and arming it.

import { useState } from "preact/hooks";
import type { ArmedFaultJson, FaultPointJson } from "../shared/ops/answers.ts";
import { counted } from "../shared/words.ts";
import type { FaultRequest } from "./api.ts";
import { Button, Choice, type Column, Dialog, Field, submitted, Table } from "./controls.tsx";
import { useAction, useFresh, usePage } from "./hooks.ts";
import { Notice } from "./marks.tsx";

/** The most that a fault can be told to strike, and to delay in milliseconds: the API's rules. */
const [MAX_TIMES, MAX_DELAY_MS] = [1000, 60_000];

export function FaultsDialog() {
  const { api, pulse } = usePage();
  const [said, setSaid] = useState("");
  const { isBusy, problem, act } = useAction();
  const fresh = useFresh(() => api.listFaults(), "faults", { tick: pulse.at });
  const { value: faults, problem: unread, isLoading, refresh } = fresh;
  const change = (words: string, doing: () => Promise<unknown>) =>
    void act(() => doing().then(() => setSaid(words)).finally(refresh));
  const disarm = (words: string, armed: readonly ArmedFaultJson[]) =>
    change(`${words} disarmed.`, () => Promise.all(armed.map(({ id }) => api.disarmFault(id))));
  const disarming: Column<ArmedFaultJson> = ["Disarm", (fault) => {
    const label = `Disarm ${fault.point}`;
    const onClick = () => disarm(`${fault.point} is`, [fault]);
    return <Button look="quiet" icon="cross" aria-label={label} onClick={onClick} />;
  }];
  return (
    <Dialog title="Faults" of={fresh} problem={problem ?? unread}>
      <p class="muted">They make the system fail on purpose, so that its recovery can be watched.</p>
      {!isLoading && faults === null && unread === null && (
        <p>
          Faults are off here. They exist only where <code>FAULTS_ENABLED</code> is <code>true</code>{" "}
          for every process, which is no setting for production.
        </p>
      )}
      {said !== "" && problem === null && !isBusy && <Notice level="good">{said}</Notice>}
      {faults && (
        <Table
          caption="Armed"
          columns={[...COLUMNS, disarming]}
          rows={faults.armed}
          empty="Nothing is armed."
        />
      )}
      {faults && faults.armed.length > 0 && (
        <div class="dialog-buttons">
          <Button look="danger" onClick={() => disarm("All faults are", faults.armed)}>Disarm all</Button>
        </div>
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

const COLUMNS: readonly Column<ArmedFaultJson>[] = [
  ["Point", ({ point }) => <code>{point}</code>],
  ["Strikes", ({ times }) => counted(times, "time")],
  ["Where", ({ consumer, correlationId }) => {
    return [consumer, correlationId].filter(Boolean).join(", ") || "anywhere";
  }],
  ["Delay", ({ delayMs }) => delayMs === null ? "its own" : `${delayMs} ms`],
];

interface ArmProps {
  readonly point: FaultPointJson;
  readonly onArm: (fault: FaultRequest) => void;
}

function ArmForm({ point: { point, perConsumer, delayMs }, onArm }: ArmProps) {
  const arm = (event: Event) => {
    const { times, consumer, delay, about } = submitted(event, "times", "consumer", "delay", "about");
    onArm({
      point,
      times: Number(times),
      consumer: consumer || null,
      correlationId: about || null,
      delayMs: delay === "" ? null : Number(delay),
    });
  };
  return (
    <form class="filters" aria-label={`Arm ${point}`} onSubmit={arm}>
      <Field label="Times" name="times" type="number" required min={1} max={MAX_TIMES} defaultValue="1" />
      {perConsumer && <Choice name="consumer" />}
      {delayMs !== null && (
        <Field
          {...{ label: "Delay in ms", name: "delay", type: "number", min: 0, max: MAX_DELAY_MS }}
          placeholder={`${delayMs}`}
        />
      )}
      <Field label="Correlation id" name="about" placeholder="any" />
      <Button type="submit" look="primary">Arm</Button>
    </form>
  );
}
