/**
 * Under which account the embedded Postgres and its programs run. Postgres refuses to run as root, so root hands over to
 * an unprivileged account; then neither the program nor its data may lie below a folder closed to that account.
 *
 * @module
 */
/** The user and group ids that a server process runs with; `undefined` stands for the caller's own. */
export type Account = { uid: number; gid: number } | undefined;

/** What a finished program answered: exit code and everything it printed. */
export interface ProgramResult {
  /** Exit code, 0 for success. */
  code: number;
  /** Standard output followed by standard error. */
  output: string;
}

/** Environment of every Postgres program: nothing of the caller's `PG*`, and messages in English. */
export const serverEnvironment = { LC_ALL: "C", PATH: "/usr/local/bin:/usr/bin:/bin" };

/** Where root keeps what an unprivileged account must reach. Only root can write to its parent. */
const rootFolder = "/var/lib/orderflow";

/**
 * Picks an unprivileged account out of the text of `/etc/passwd`: `nobody`, else another that every system
 * has for services. The account must be listed there, because `initdb` looks its own name up.
 */
export function unprivilegedAccount(passwd: string): Account {
  const rows = passwd.split("\n").map((line) => line.split(":"));
  for (const name of ["nobody", "postgres", "daemon"]) {
    const row = rows.find((fields) => fields[0] === name);
    if (!row) continue;
    // `>>> 0`: macOS writes nobody's id as -2, the system call takes it unsigned.
    const [uid, gid] = [Number(row[2]) >>> 0, Number(row[3]) >>> 0];
    if (uid !== 0) return { uid, gid };
  }
  return undefined;
}

/**
 * The account to run Postgres with: the caller's own, or an unprivileged one when the caller is root.
 *
 * @throws Error if the caller is root and the system has no account to hand over to
 */
export async function serverAccount(): Promise<Account> {
  if (Deno.uid() !== 0) return undefined;
  const account = unprivilegedAccount(await Deno.readTextFile("/etc/passwd"));
  if (account) return account;
  throw new Error(
    "Postgres does not run as root, and /etc/passwd has none of the accounts nobody, postgres, daemon: " +
      "add one, run as another user, or set DATABASE_URL to a Postgres server",
  );
}

/**
 * Runs a program to its end under `account`, from the root folder and with an empty environment.
 *
 * @param options `stdin`: text fed to it; `timeoutMs`: after that it is killed, which shows as a failed run
 */
export async function runAs(
  account: Account,
  command: string,
  args: string[],
  options: { stdin?: string; timeoutMs: number },
): Promise<ProgramResult> {
  const child = new Deno.Command(command, {
    args,
    ...account,
    cwd: "/",
    clearEnv: true,
    env: serverEnvironment,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => signalChild(child, "SIGKILL"), options.timeoutMs);
  try {
    await feed(child.stdin, options.stdin ?? "");
    const { code, stdout, stderr } = await child.output();
    return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Sends `signal` to `child`; one that has ended takes none. Nobody can ask first: from the moment in which Deno has reaped a
 * child it refuses to signal it, and `status` tells of that a turn of the event loop later.
 */
export function signalChild(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Writes a text to a child's standard input and closes it; a child that has gone already is no error. */
export async function feed(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    if (text) await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/**
 * Whether `account` can read every file and enter every folder of `paths`. Asks the kernel, so modes, groups
 * and ACLs all count.
 */
export async function reaches(account: Account, ...paths: string[]): Promise<boolean> {
  const script =
    'for path; do if test -d "$path"; then test -x "$path"; else test -r "$path"; fi || exit; done';
  const { code } = await runAs(account, "/bin/sh", ["-c", script, "sh", ...paths], { timeoutMs: 5_000 });
  return code === 0;
}

/**
 * The folder for what must be reachable although the project is not (it lies below `/root`, say). It is not
 * in the shared temp folder: there, another user could be first to take a predictable name, and clean-up
 * services delete old files out of the middle of a database.
 *
 * @throws Error if it cannot be made, or if somebody other than root could write to it
 */
export async function reachableRootFolder(): Promise<string> {
  const remedy = "put the project into a folder that every user may enter (chmod o+x on its parents), " +
    "run as another user than root, or set DATABASE_URL to a Postgres server";
  try {
    await Deno.mkdir(rootFolder, { recursive: true, mode: 0o755 });
  } catch (cause) {
    throw new Error(`cannot make ${rootFolder} for the embedded Postgres: ${remedy}`, { cause });
  }
  const { isDirectory, uid, mode } = await Deno.lstat(rootFolder);
  if (!isDirectory || uid !== 0 || mode === null || (mode & 0o022) !== 0) {
    throw new Error(`${rootFolder} is not a folder that only root can write to: remove it, or ${remedy}`);
  }
  await Deno.chmod(rootFolder, 0o755); // a strict umask made it closed
  return rootFolder;
}

/** Turns "no such file" into `undefined`; any other failure stays one. */
export function absent(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
