/**
 * Asks before dead letters are redriven or discarded: one, or all that match, which are counted first.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { type ApiClient, problemOf } from "./api_client.ts";
import type { LetterSelection } from "./api_queries.ts";
import type { DeadLetterJson, RedrivenJson } from "../shared/ops/answers.ts";
import { ConfirmDialog } from "./confirm_dialog.tsx";
import { counted } from "./number_format.ts";
import type { Rendered } from "./rendered.ts";

/** What is asked: what to do, and with which letter or letters. */
export type LetterQuestion =
  & { readonly kind: "redrive" | "discard" }
  & ({ readonly letter: DeadLetterJson } | { readonly selection: LetterSelection });

/** What the dialog needs. */
export interface LetterDialogProps {
  /** The routes. */
  readonly api: ApiClient;
  /** What is asked. */
  readonly question: LetterQuestion;
  /** It is done; in words, what it came to. */
  readonly onDone: (words: string) => void;
  /** The dialog was closed. */
  readonly onClose: () => void;
}

/** Letters that one request deals with at most, by the API's rule. */
const MAX_LETTERS = 1000;
const PAGE = 100;

/** Asks, and does it. */
export function LetterDialog({ api, question, onDone, onClose }: LetterDialogProps): Rendered {
  const [count, setCount] = useState<number | null>("letter" in question ? 1 : null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    if ("letter" in question) return;
    let isWanted = true;
    countOpenLetters(api, question.selection).then(
      (found) => isWanted && setCount(found),
      (error) => isWanted && setProblem(problemOf(error)),
    );
    return () => {
      isWanted = false;
    };
  }, []);
  const what = count === null
    ? "all that match"
    : count === 1
    ? "1 dead letter"
    : `${countWords(count)} dead letters`;
  const isDiscard = question.kind === "discard";

  return (
    <ConfirmDialog
      title={`${isDiscard ? "Discard" : "Redrive"} ${what}?`}
      action={isDiscard ? "Discard" : "Redrive"}
      isDangerous={isDiscard}
      isReady={count !== null && count > 0}
      {...(isDiscard ? { reasonLabel: "Why is it discarded?" } : {})}
      onClose={onClose}
      onConfirm={async (reason) => onDone(await act(api, question, reason))}
    >
      {problem !== null && <p class="notice bad" role="alert">{problem}</p>}
      {count === null && problem === null && <p role="status">Counting what matches…</p>}
      {count === 0 && <p role="status">No open letter matches any more.</p>}
      <Meaning question={question} />
      {count === MAX_LETTERS && (
        <p class="notice warn">One request deals with {countWords(count)}: do it again after.</p>
      )}
    </ConfirmDialog>
  );
}

function Meaning({ question }: { readonly question: LetterQuestion }): Rendered {
  const who = "letter" in question ? question.letter.consumer : question.selection.consumer;
  if (question.kind === "discard") {
    return <p>The work is given up on for good. The letter stays readable, with your reason.</p>;
  }
  return (
    <p>
      Each message goes to its own consumer's queue once more{who
        ? (
          <>
            , which is <b>{who}</b>
          </>
        )
        : null}, and to nobody else. What has been processed meanwhile is closed without sending.
    </p>
  );
}

async function act(api: ApiClient, question: LetterQuestion, reason: string): Promise<string> {
  if (question.kind === "redrive") {
    return redrivenWords(
      "letter" in question
        ? await api.redriveLetter(question.letter.id)
        : await api.redriveLetters(question.selection),
    );
  }
  const discarded = "letter" in question
    ? await api.discardLetter(question.letter.id, reason)
    : await api.discardLetters(question.selection, reason);
  return `Discarded ${counted(discarded, "dead letter")}: ${reason}`;
}

/** What a redrive came to, such as `Redriven 3, already processed 1.` */
export function redrivenWords({ redriven, alreadyProcessed, refused }: RedrivenJson): string {
  const parts = [`Redriven ${redriven}`];
  if (alreadyProcessed > 0) parts.push(`already processed ${alreadyProcessed}`);
  if (refused.length > 0) parts.push(`still open ${refused.length} (${refused[0]?.error})`);
  return `${parts.join(", ")}.`;
}

/** How many open letters match, up to as many as one request deals with. */
export async function countOpenLetters(api: ApiClient, selection: LetterSelection): Promise<number> {
  let count = 0;
  let cursor: string | null = null;
  do {
    const page = await api.listDeadLetters({ ...selection, state: "OPEN", limit: PAGE, cursor });
    count += page.deadLetters.length;
    cursor = page.nextCursor;
  } while (cursor !== null && count < MAX_LETTERS);
  return count;
}

function countWords(count: number): string {
  return count >= MAX_LETTERS ? "the oldest 1,000" : String(count);
}
