/**
 * Light, dark, or as the system has it.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";

const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const ICONS = { system: "system", light: "sun", dark: "moon" } as const;
const STORAGE_KEY = "orderflow-theme";

/** Changes the theme, and keeps it in this browser. */
export function ThemeToggle(): Rendered {
  const [theme, setTheme] = useState<Theme>("system");
  useEffect(() => setTheme(storedTheme()), []);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
  return (
    <button
      type="button"
      class="button quiet small"
      aria-label={`Theme: ${theme}. Change to ${next}`}
      title={`Theme: ${theme}`}
      onClick={() => {
        setTheme(next);
        applyTheme(next);
        store(next);
      }}
    >
      <Icon name={ICONS[theme]} />
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
    return THEMES.find((theme) => theme === localStorage.getItem(STORAGE_KEY)) ?? "system";
  } catch {
    return "system"; // storage may be denied
  }
}

function store(theme: Theme): void {
  try {
    localStorage.setItem(STORAGE_KEY, theme);
  } catch {
    // denied: it lasts as long as the page
  }
}
