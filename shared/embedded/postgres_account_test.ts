import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { reaches, runAs, serverAccount, unprivilegedAccount } from "./postgres_account.ts";

Deno.test("unprivilegedAccount() prefers nobody, and reads macOS's negative ids as the unsigned ones they are", () => {
  const line = (name: string, uid: number, gid = uid) => `${name}:x:${uid}:${gid}::/:/bin/false`;
  const linux = [line("root", 0), line("daemon", 1), line("nobody", 65534)].join("\n");
  assertEquals(unprivilegedAccount(linux), { uid: 65534, gid: 65534 });
  assertEquals(unprivilegedAccount(`# comment\n${line("nobody", -2)}\n`), {
    uid: 4294967294,
    gid: 4294967294,
  });
  assertEquals(unprivilegedAccount(`${line("root", 0)}\n${line("daemon", 1, 2)}`), { uid: 1, gid: 2 });
  assertEquals(unprivilegedAccount(`${line("root", 0)}\n${line("nobody", 0)}`), undefined);
  assertEquals(unprivilegedAccount(""), undefined);
});

Deno.test("serverAccount() is the caller's own exactly if the caller is not root", async () => {
  assertEquals(await serverAccount() === undefined, Deno.uid() !== 0);
});

Deno.test("runAs() feeds standard input, collects the output and the exit code, and passes no environment", async () => {
  const script = 'cat; echo "home:$HOME" >&2; exit 3';
  const result = await runAs(undefined, "/bin/sh", ["-c", script], { stdin: "in ", timeoutMs: 5_000 });
  assertEquals(result, { code: 3, output: "in home:\n" });
});

Deno.test("runAs() kills a program that takes too long", async () => {
  const { code } = await runAs(undefined, "/bin/sleep", ["60"], { timeoutMs: 50 });
  assertEquals(code, 137); // 128 + SIGKILL
});

Deno.test("runAs() does not mind a program that leaves its input unread", async () => {
  const text = "x".repeat(1_000_000);
  assertEquals((await runAs(undefined, "/bin/true", [], { stdin: text, timeoutMs: 5_000 })).code, 0);
});

Deno.test("reaches() tells whether the account may read every path", async () => {
  const account = await serverAccount();
  const folder = await Deno.makeTempDir(); // mode 0700
  try {
    assert(await reaches(account, "/", "/etc/passwd"));
    assert(!(await reaches(account, "/", join(folder, "absent"))));
    assertEquals(await reaches(account, "/", folder), account === undefined);
    await Deno.chmod(folder, 0o711);
    assert(await reaches(account, "/", folder));
  } finally {
    await Deno.remove(folder);
  }
});
