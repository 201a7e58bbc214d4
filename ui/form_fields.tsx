/**
 * Fields of forms and filters: each with its label above.
 *
 * @module
 */
import type { Rendered } from "./rendered.ts";

/** What every field has. */
export interface FieldProps {
  /** What it is, above it. */
  readonly label: string;
  /** What is in it. */
  readonly value: string;
  /** Somebody has changed it. */
  readonly onChange: (value: string) => void;
}

/** One choice. */
export interface Choice {
  /** What it stands for. */
  readonly value: string;
  /** What it is called. */
  readonly label: string;
}

/** Choices whose names are their values, behind one for all of them. */
export function choices(all: string, values: readonly string[]): Choice[] {
  return [{ value: "", label: all }, ...values.map((value) => ({ value, label: value }))];
}

/** A choice out of a few. */
export function SelectField(
  { label, value, onChange, options }: FieldProps & { readonly options: readonly Choice[] },
): Rendered {
  return (
    <label class="form-field">
      <span>{label}</span>
      <select class="field" value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map((option) => <option key={option.value} value={option.value}>{option.label}</option>)}
      </select>
    </label>
  );
}

/** What else a field of text can say. */
export interface TextFieldProps extends FieldProps {
  /** An example. */
  readonly placeholder?: string;
  /** Which kind of input it is; text unless told. */
  readonly type?: "text" | "search" | "number" | "datetime-local";
  /** Values that are offered while somebody types. */
  readonly suggestions?: readonly string[];
  /** The smallest number. */
  readonly min?: number;
  /** The largest number. */
  readonly max?: number;
}

/** A field of text, of a number or of a time. */
export function TextField(props: TextFieldProps): Rendered {
  const { label, value, onChange, placeholder, type = "text", suggestions, min, max } = props;
  const list = suggestions && `suggestions-${label.toLowerCase().replaceAll(" ", "-")}`;
  return (
    <label class={type === "datetime-local" ? "form-field wide" : "form-field"}>
      <span>{label}</span>
      <input
        class="field"
        type={type}
        value={value}
        autocomplete="off"
        spellcheck={false}
        {...(type === "datetime-local" ? { step: 1 } : {})}
        {...(placeholder === undefined ? {} : { placeholder })}
        {...(min === undefined ? {} : { min })}
        {...(max === undefined ? {} : { max })}
        {...(list === undefined ? {} : { list })}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      {suggestions && (
        <datalist id={list}>
          {suggestions.map((suggestion) => <option key={suggestion} value={suggestion} />)}
        </datalist>
      )}
    </label>
  );
}
