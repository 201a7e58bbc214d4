/**
 * What operators did, newest first.
 *
 * @module
 */
import type { OperationJson } from "../shared/ops/answers.ts";
import { When } from "./controls.tsx";
import { Dialog } from "./dialog.tsx";
import { useFresh } from "./hooks.ts";
import { usePage } from "./page_data.ts";
import { type Column, Table } from "./table.tsx";
import { formatView } from "./url_state.ts";

export function ActionsDialog() {
  const { api, pulse } = usePage();
  const { value, problem, isLoading } = useFresh(() => api.listOperations(), "actions", { tick: pulse.at });
  return (
    <Dialog title="What operators did" problem={problem} isReading={isLoading}>
      <p class="muted">Each act that changed something, from the page, the API or a task: the newest 50.</p>
      {value?.operations.length === 0 && <p class="empty">Nobody has done anything yet.</p>}
      {value && value.operations.length > 0 && (
        <Table
          caption="Actions"
          columns={COLUMNS}
          rows={value.operations}
        />
      )}
    </Dialog>
  );
}

const COLUMNS: readonly Column<OperationJson>[] = [
  ["When", ({ at }) => <When at={at} />],
  ["What", ({ action }) => <b>{action}</b>],
  ["On what", (operation) => <Subject operation={operation} />],
  ["Why", ({ reason }) => reason ?? <span class="muted">nothing was said</span>],
  ["From where", ({ source }) => <span class="muted">{source}</span>],
];

function Subject({ operation: { subject } }: { readonly operation: OperationJson }) {
  const { view } = usePage();
  return (
    <>
      {Object.entries(subject).map(([name, value]) => {
        const words = typeof value === "string" ? value : JSON.stringify(value);
        const isSet = name === "setId" && typeof value === "string";
        return (
          <div key={name}>
            <span class="muted">{name}</span>{" "}
            {isSet ? <a href={formatView({ ...view, panel: "", set: value })}>what became of them</a> : words}
          </div>
        );
      })}
    </>
  );
}
