/**
 * Writes the list of migrations, `shared/sql/migrations.ts`, out of the folder: a process imports their texts and
 * need not read a file. A test holds the list to the folder.
 *
 * @module
 */
const folder = new URL("../shared/sql/migrations/", import.meta.url);
const list = new URL("../shared/sql/migrations.ts", import.meta.url);

/** The text of the list. */
export function migrationsText(): string {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => /^\d/.test(name))
    .toSorted();
  const variable = (name: string) => `m${name.slice(0, 3)}`;
  return [
    "/**",
    " * The migrations in their order, written by `deno task generate`.",
    " *",
    " * @module",
    " */",
    ...names.map((name) => `import ${variable(name)} from "./migrations/${name}" with { type: "text" };`),
    "",
    "/** Each one's name and text. */",
    "export const MIGRATIONS = [",
    ...names.map((name) => `  { name: "${name.replace(".sql", "")}", text: ${variable(name)} },`),
    "] as const;",
    "",
  ].join("\n");
}

if (import.meta.main) await Deno.writeTextFile(list, migrationsText());
