// What every view is put together from: buttons, links, fields, times, a value that a click copies, tables, dialogs.

import type { ComponentChildren, ComponentProps } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { MessageJson } from "../shared/ops/answers.ts";
import { formatAge, formatTime } from "./format.ts";
import { type Fresh, usePage } from "./hooks.ts";
import { Icon, type IconName, Notice } from "./marks.tsx";
import { formatView, type ViewState } from "./url_state.ts";

interface ButtonProps extends ComponentProps<"button"> {
  readonly icon?: IconName;
  /** What sets it apart, in the style sheet's words. */
  readonly look?: string;
}

export function Button({ icon, look = "", children, ...others }: ButtonProps) {
  return (
    <button type="button" class={`button ${look}`} {...others}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface ViewLinkProps extends Omit<ComponentProps<"a">, "href" | "role"> {
  readonly to: Partial<ViewState>;
}

/** Leads to the view with something of it changed. */
export function ViewLink({ to, ...others }: ViewLinkProps) {
  const { view } = usePage();
  return <a href={formatView({ ...view, ...to })} {...others} />;
}

type Message = Pick<MessageJson, "type" | "eventId" | "deadLetterId" | "consumer">;

/** Leads to an event, or to the dead letter that became of it, and says to whom it goes. */
export function MessageLink({ type, eventId, deadLetterId, consumer }: Message) {
  const opens = deadLetterId ? { letter: deadLetterId } : { event: eventId };
  return (
    <>
      <ViewLink to={{ set: null, ...opens }}>{type ?? "unreadable"}</ViewLink>
      <small class="muted">{consumer}</small>
    </>
  );
}

/** A labelled field. Without a `value` it keeps its own, which its form has by its name. */
export function Field({ label, ...others }: ComponentProps<"input"> & { readonly label: string }) {
  return (
    <label class="form-field">
      <span>{label}</span>
      <input class="field" autocomplete="off" spellcheck={false} {...others} />
    </label>
  );
}

const CHOICES = { consumer: ["Consumer", "All consumers"], type: ["Type", "All types"] } as const;

/** A choice of one consumer or one type of event; the empty one stands for all. */
export function Choice(
  { name, value = "" }: { readonly name: keyof typeof CHOICES; readonly value?: string },
) {
  const { queues } = usePage();
  const [label, all] = CHOICES[name];
  const known = queues.flatMap((queue) => name === "type" ? queue.bindings : queue.name);
  return (
    <label class="form-field">
      <span>{label}</span>
      <select class="field" name={name}>
        <option value="">{all}</option>
        {[...new Set([...known, value])].filter(Boolean).map((each) => (
          <option key={each} value={each} selected={each === value}>{each}</option>
        ))}
      </select>
    </label>
  );
}

/** What the fields of a form that is submitted hold, by their names; the page stays. */
export function submitted<Name extends string>(
  event: Event,
  ...names: readonly Name[]
): Record<Name, string> {
  event.preventDefault();
  const form = event.currentTarget instanceof HTMLFormElement
    ? new FormData(event.currentTarget)
    : new FormData();
  const entries = names.map((name) => [name, String(form.get(name) ?? "").trim()]);
  return Object.fromEntries(entries);
}

/** A time of day with its age beside it. */
export function When({ at }: { readonly at: string }) {
  const { now } = usePage();
  return (
    <time dateTime={at} title={at}>
      {formatTime(at)} <span class="muted">{formatAge(at, now)}</span>
    </time>
  );
}

interface CopyProps {
  /** What it is, such as `correlation id`. */
  readonly label: string;
  readonly value: string;
  /** What is shown of it; all of it by default. */
  readonly shown?: string;
}

/** Shows a value and copies it on a click; where the page may not do that, all of it is shown, to be copied by hand. */
export function CopyButton({ label, value, shown = value }: CopyProps) {
  const [said, setSaid] = useState<"" | "Copied" | "Not copied">("");
  const copy = () =>
    Promise.try(() => navigator.clipboard.writeText(value)).then(
      () => setSaid("Copied"),
      () => setSaid("Not copied"),
    );
  return (
    <span>
      <Button look="quiet mono" title={`Copy the ${label}: ${value}`} onClick={copy}>
        <span class="visually-hidden">{`Copy the ${label} `}</span>
        <span>{said === "Not copied" ? value : shown}</span>
        <Icon name={said === "Copied" ? "check" : "copies"} />
      </Button>
      <span class="visually-hidden" role="status">{said}</span>
    </span>
  );
}

export type Column<T> = readonly [label: string, cell: (row: T) => ComponentChildren];

interface TableProps<T> {
  /** What it lists, for screen readers. */
  readonly caption: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  /** What is said where there are none. */
  readonly empty?: string;
}

/** Rows change in their places: nothing moves while new ones come. On a narrow screen each row is a card. */
export function Table<T>({ caption, columns, rows, empty }: TableProps<T>) {
  if (rows.length === 0) return empty ? <p class="empty">{empty}</p> : null;
  return (
    <table class="data" role="table">
      <caption class="visually-hidden">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(([label]) => <th key={label} role="columnheader" scope="col">{label}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, i) => (
          <tr key={i} role="row">
            {columns.map(([label, cell]) => (
              <td key={label} role="cell" data-label={label}>
                <div>{cell(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface DialogProps {
  readonly title: string;
  /** What it shows, as far as that has been read. */
  readonly of?: Pick<Fresh<unknown>, "problem" | "isLoading">;
  /** What went wrong in it, in words. */
  readonly problem?: string | null;
  readonly children?: ComponentChildren;
}

/** A dialog over the page for as long as the address names it: the native kind, which holds the focus and gives it back. */
export function Dialog({ title, of, problem = of?.problem ?? null, children }: DialogProps) {
  const { navigate } = usePage();
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const isGone = useRef(false);
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
    return () => {
      isGone.current = true; // nobody has closed it: something else is rendered in its place
      shown?.close();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby={heading}
      onClose={() =>
        isGone.current || navigate({ event: null, letter: null, set: null, panel: "" }, "replace")}
    >
      <div class="dialog-head">
        <h2 id={heading}>{title}</h2>
        <Button look="quiet" icon="cross" aria-label="Close" onClick={() => dialog.current?.close()} />
      </div>
      <div class="dialog-body">
        {problem !== null && <Notice level="bad">{problem}</Notice>}
        {of?.isLoading && <p role="status">Reading it…</p>}
        {children}
      </div>
    </dialog>
  );
}
