/**
 * Fields, times, a value that a click copies, and the choice of the theme.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { formatAge, formatTime } from "./format.ts";
import { Icon } from "./marks.tsx";
import { usePage } from "./page_data.ts";

/** Without a `value` it keeps its own, which its form has by its name. */
interface FieldProps {
  readonly name: string;
  readonly value?: string;
  readonly onChange?: (value: string) => void;
}

interface InputProps extends FieldProps {
  readonly label: string;
  readonly type?: "number" | "datetime-local";
  readonly min?: number;
  readonly max?: number;
  readonly step?: number;
  readonly maxLength?: number;
  readonly required?: boolean;
  readonly defaultValue?: string;
  readonly placeholder?: string;
}

/** A labelled field. */
export function Field({ label, onChange, ...others }: InputProps) {
  const input: Readonly<Record<string, string | number | boolean | undefined>> = others;
  return (
    <label class="form-field">
      <span>{label}</span>
      <input
        class="field"
        autocomplete="off"
        spellcheck={false}
        {...input}
        onInput={(event) => onChange?.(event.currentTarget.value)}
      />
    </label>
  );
}

const CHOICES = { consumer: ["Consumer", "All consumers"], type: ["Type", "All types"] } as const;

/** A choice of one consumer or one type of event; the empty one stands for all. */
export function Choice({ name, value = "", onChange }: FieldProps & { readonly name: keyof typeof CHOICES }) {
  const { queues } = usePage();
  const [label, all] = CHOICES[name];
  const known = queues.flatMap((queue) => name === "type" ? queue.bindings : queue.name);
  return (
    <label class="form-field">
      <span>{label}</span>
      <select class="field" name={name} onChange={(event) => onChange?.(event.currentTarget.value)}>
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
      <button type="button" class="button quiet mono" title={`Copy the ${label}: ${value}`} onClick={copy}>
        <span class="visually-hidden">{`Copy the ${label} `}</span>
        <span>{said === "Not copied" ? value : shown}</span>
        <Icon name={said === "Copied" ? "check" : "copies"} />
      </button>
      <span class="visually-hidden" role="status">{said}</span>
    </span>
  );
}

const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" } as const;
const THEME_KEY = "orderflow-theme";

/** Changes between light, dark, and as the system has it; this browser keeps it. */
export function ThemeToggle() {
  const [theme, setTheme] = useState<Theme>("system");
  useEffect(() => setTheme(storedTheme()), []);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
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
  return (
    <button type="button" class="button quiet" aria-label={label} title={`Theme: ${theme}`} onClick={change}>
      <Icon name={THEME_ICONS[theme]} />
    </button>
  );
}

/** Gives the document a theme; by default the one that was chosen in this browser, before the island's first paint. */
export function applyTheme(theme: Theme = storedTheme()): void {
  document.documentElement.style.colorScheme = theme === "system" ? "" : theme;
}

function storedTheme(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(THEME_KEY)) ?? "system";
  } catch {
    return "system"; // storage may be denied
  }
}
