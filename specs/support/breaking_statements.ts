/**
 * Tells which statements of a migration the processes of the release before it could not live with.
 *
 * @module
 */

/** A statement that breaks processes which do not know of it. */
export interface BreakingStatement {
  /** Its beginning. */
  readonly statement: string;
  /** What is wrong with it, and what to do instead. */
  readonly why: string;
}

/** What is wrong wherever it stands. */
const ANYWHERE: readonly (readonly [RegExp, string])[] = [
  [/\bdrop\s+(?!not\s+null\b)/, "drops what they use: remove it in a later release, once nobody does"],
  [/\brename\b/, "renames what they use: add the new name beside the old one"],
  [/\btruncate\b|\bdelete\s+from\b/, "deletes what they may still need"],
  [/\brevoke\b/, "takes a right from them"],
];

/** What is wrong with an action of `alter table`, for a table that is older than the migration. */
const OF_OLD_TABLES: readonly (readonly [RegExp, string])[] = [
  [/\balter\s+(column\s+)?\S+\s+(set\s+data\s+)?type\b/, "changes a type: add a column of the new type"],
  [/\bset\s+not\s+null\b/, "demands a value that they may not write: do so in a later release"],
  [
    /^add\s+(constraint|check|unique|primary|foreign|exclude)\b/,
    "checks what they write: do so in a later release",
  ],
  [
    /^add\s+(?!constraint\b)(?!.*\b(default|generated)\b).*\bnot\s+null\b/,
    "adds a column that they do not write: give it a default, or let it be null",
  ],
];

/** What a migration says in a comment before a statement that looks breaking and is not, with the reason. */
const EXCUSE = /--\s*not breaking:\s*\S+/;

/** The statements of a migration's `text` that break processes of the release before. Pure. */
export function breakingStatements(text: string): BreakingStatement[] {
  const statements = text.replaceAll(/'(?:[^']|'')*'/g, "''").replaceAll(/--.*/g, plainComment).split(";");
  const created = new Set([...text.matchAll(/^create (?:unlogged )?table (\w+)/gm)].map(([, name]) => name));
  return statements.filter((raw) => !EXCUSE.test(raw)).flatMap((raw) => {
    const statement = raw.replaceAll(/--.*/g, "").replaceAll(/\s+/g, " ").trim().toLowerCase();
    return faultsOf(statement, created).map((why) => ({ statement: statement.slice(0, 60), why }));
  });
}

/** A semicolon in a comment ends no statement. */
function plainComment(comment: string): string {
  return comment.replaceAll(";", ",");
}

function faultsOf(statement: string, created: ReadonlySet<string | undefined>): string[] {
  const matching = (rules: typeof ANYWHERE, part: string) =>
    rules.filter(([pattern]) => pattern.test(part)).map(([, why]) => why);
  const [, table, actions] = /^alter table (?:if exists )?(\w+) (.*)$/.exec(statement) ?? [];
  const ofOldTable = table === undefined || created.has(table)
    ? []
    : splitActions(actions ?? "").flatMap((action) => matching(OF_OLD_TABLES, action));
  const [, indexed] = /^create unique index .*? on (\w+)/.exec(statement) ?? [];
  const unique = indexed !== undefined && !created.has(indexed)
    ? ["refuses what they write twice: do so in a later release"]
    : [];
  return [...matching(ANYWHERE, statement), ...ofOldTable, ...unique];
}

/** The actions of an `alter table`, which have commas between them, as their arguments may have in brackets. */
function splitActions(text: string): string[] {
  const actions = [""];
  let depth = 0;
  for (const character of text) {
    if (character === "(") depth++;
    if (character === ")") depth--;
    if (character === "," && depth === 0) actions.push("");
    else actions.push(`${actions.pop() ?? ""}${character}`);
  }
  return actions.map((action) => action.trim());
}
