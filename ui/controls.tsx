// Buttons, links, fields, times, a value that a click copies, and the choice of the theme.

import type { ComponentProps } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { MessageJson } from "../shared/ops/answers.ts";
import { formatAge, formatTime } from "./format.ts";
import { Icon, type IconName } from "./marks.tsx";
import { usePage } from "./page_data.ts";
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

const THEME_ICONS = { system: "system", light: "sun", dark: "moon" } as const;
const NEXT_THEMES = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT_THEMES;
const THEME_KEY = "orderflow-theme";

/** Changes between light, dark, and as the system has it; this browser keeps it. */
export function ThemeToggle() {
  const [theme, setTheme] = useState<Theme>("system");
  useEffect(() => setTheme(storedTheme()), []);
  const next = NEXT_THEMES[theme];
  const change = () => {
    setTheme(next);
    applyTheme(next);
    try {
      localStorage.setItem(THEME_KEY, next);
    } catch {
      // denied: it lasts as long as the page
    }
  };
  const label = `Theme: ${theme}. Change to ${next}`;
  const title = `Theme: ${theme}`;
  return <Button look="quiet" icon={THEME_ICONS[theme]} aria-label={label} title={title} onClick={change} />;
}

/** Gives the document a theme; by default the one that was chosen in this browser, before the island's first paint. */
export function applyTheme(theme: Theme = storedTheme()): void {
  document.documentElement.style.colorScheme = theme === "system" ? "" : theme;
}

function storedTheme(): Theme {
  try {
    const stored = localStorage.getItem(THEME_KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system"; // storage may be denied
  }
}
