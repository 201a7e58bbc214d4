import { assertEquals } from "@std/assert";
import { runLesson, stepsOf } from "./run_lesson.ts";

const lesson = `Words.

\`\`\`sh
NAME=world
echo "hello $NAME"
\`\`\`

\`\`\`text
hello world
\`\`\`

\`\`\`sh
echo "$NAME" "$GIVEN"; ls /nowhere 2> /dev/null || echo none >&2
\`\`\`

Words in between.

\`\`\`text
no output of a command
\`\`\`
`;

Deno.test("stepsOf() takes the output from right behind the commands", () => {
  assertEquals(stepsOf(lesson).map(({ expected }) => expected), [
    { text: "hello world\n", unordered: false },
    null,
  ]);
});

Deno.test("runLesson() runs all steps in one shell, and tells their outputs apart", async () => {
  const run = await runLesson(stepsOf(lesson), { GIVEN: "peace" });
  assertEquals(run, { printed: ["hello world\n", "world peace\nnone\n"], code: 0, leftSome: false });
});

Deno.test("runLesson() stops at the first command that fails, and kills what is left", async () => {
  const steps = ["sleep 1000 &\necho one\n", "echo two\nfalse\necho three\n", "echo four\n"]
    .map((commands) => ({ commands, expected: null }));
  const run = await runLesson(steps, {});
  assertEquals(run, { printed: ["one\n", "two\n"], code: 1, leftSome: true });
});
