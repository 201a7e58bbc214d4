/**
 * Fields, a value that a click copies, and the choice of the theme.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { formatAge, formatTime } from "./format.ts";
import { Icon } from "./marks.tsx";
import { NAMES } from "./names.ts";
import { usePage } from "./page_data.ts";

interface FieldProps {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly placeholder?: string;
}

/** A field of text; of a time, where `isTime`. */
export function TextField(
  { label, onChange, isTime, ...more }: FieldProps & { readonly isTime?: boolean },
) {
  const type = isTime ? { type: "datetime-local", step: 1 } as const : {};
  const onInput = (event: { readonly currentTarget: HTMLInputElement }) =>
    onChange(event.currentTarget.value);
  return (
    <label class="form-field">
      <span>{label}</span>
      <input class="field" autocomplete="off" spellcheck={false} {...type} {...more} onInput={onInput} />
    </label>
  );
}

/** A field of a whole number. */
export function NumberField(
  { label, onChange, ...more }: FieldProps & { readonly min: number; readonly max: number },
) {
  return (
    <label class="form-field">
      <span>{label}</span>
      <input class="field" type="number" {...more} onInput={(event) => onChange(event.currentTarget.value)} />
    </label>
  );
}

/** Every filter there is: what it is called, and what can be chosen; null where something is typed. */
const FILTERS = {
  type: ["Type", "All types"],
  consumer: ["Consumer", "All consumers"],
  reason: ["Reason", "Any reason"],
  state: ["State", "Open"],
  from: ["From (UTC)", null],
  to: ["To (UTC)", null],
  order: ["Order id", null],
  event: ["Event id", null],
  correlation: ["Correlation id", null],
} as const;
export type FilterName = keyof typeof FILTERS;

const CHOICES: { readonly [K in FilterName]?: readonly string[] } = {
  type: NAMES.types,
  reason: NAMES.reasons,
  state: ["REDRIVEN", "DISCARDED"],
};

interface FilterProps {
  readonly name: FilterName;
  readonly value: string;
  readonly onChange: (value: string) => void;
}

/** The field of one filter: a choice, a time, or a whole id. */
export function Filter({ name, value, onChange }: FilterProps) {
  const { queues } = usePage();
  const [label, all] = FILTERS[name];
  if (all === null) {
    const isTime = name === "from" || name === "to";
    return (
      <TextField label={label} value={value} onChange={onChange} placeholder="the whole id" isTime={isTime} />
    );
  }
  const known = name === "consumer" ? queues.map((queue) => queue.name) : CHOICES[name] ?? [];
  const values = value === "" || known.includes(value) ? known : [...known, value];
  return (
    <label class="form-field">
      <span>{label}</span>
      <select class="field" value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">{all}</option>
        {values.map((each) => <option key={each} value={each}>{each}</option>)}
      </select>
    </label>
  );
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

/** How long it is said that a value is copied, in milliseconds. */
const SAID_FOR_MS = 2000;

interface CopyProps {
  /** What it is, such as `correlation id`. */
  readonly label: string;
  readonly value: string;
  /** What is shown of it; all of it by default. */
  readonly shown?: string;
}

/** Shows a value and copies it on a click; says so in words, also to screen readers. */
export function CopyButton({ label, value, shown = value }: CopyProps) {
  const [said, setSaid] = useState<"Copied" | "Not copied" | null>(null);
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(null), SAID_FOR_MS);
    return () => clearTimeout(timer);
  }, [said]);
  return (
    <span>
      <button
        type="button"
        class="button quiet mono"
        title={`Copy the ${label}: ${value}`}
        onClick={async () => setSaid(await copyText(value) ? "Copied" : "Not copied")}
      >
        <span class="visually-hidden">{`Copy the ${label} `}</span>
        <span>{shown}</span>
        <Icon name={said === "Copied" ? "check" : "copies"} />
      </button>
      <span class="visually-hidden" role="status">{said ?? ""}</span>
    </span>
  );
}

/** Copies a text; where the page may not use the clipboard, by way of a selected field. Whether it is copied. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return isCopied;
  }
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

/** Gives the document the theme that was chosen in this browser. To be called before the first paint of the island. */
export function applyStoredTheme(): void {
  applyTheme(storedTheme());
}

function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

function storedTheme(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(THEME_KEY)) ?? "system";
  } catch {
    return "system"; // storage may be denied
  }
}
