// What operators did, newest first.

import type { OperationJson } from "../shared/ops/answers.ts";
import { ViewLink, When } from "./controls.tsx";
import { Dialog } from "./dialog.tsx";
import { useFresh } from "./hooks.ts";
import { usePage } from "./page_data.ts";
import { type Column, Table } from "./table.tsx";

export function ActionsDialog() {
  const { api, pulse } = usePage();
  const fresh = useFresh(() => api.listOperations(), "actions", { tick: pulse.at });
  const operations = fresh.value?.operations;
  return (
    <Dialog title="What operators did" of={fresh}>
      <p class="muted">Each act that changed something, from the page, the API or a task: the newest 50.</p>
      {operations && (
        <Table caption="Actions" columns={COLUMNS} rows={operations} empty="Nobody has done anything yet." />
      )}
    </Dialog>
  );
}

const COLUMNS: readonly Column<OperationJson>[] = [
  ["When", ({ at }) => <When at={at} />],
  ["What", ({ action }) => <b>{action}</b>],
  ["On what", ({ subject }) => Object.entries(subject).map(subjectLine)],
  ["Why", ({ reason }) => reason ?? <span class="muted">nothing was said</span>],
  ["From where", ({ source }) => <span class="muted">{source}</span>],
];

function subjectLine([name, value]: readonly [string, unknown]) {
  const words = typeof value === "string" ? value : JSON.stringify(value);
  const isSet = name === "setId" && typeof value === "string";
  return (
    <div key={name}>
      <span class="muted">{name}</span>{" "}
      {isSet ? <ViewLink to={{ panel: "", set: value }}>what became of them</ViewLink> : words}
    </div>
  );
}
