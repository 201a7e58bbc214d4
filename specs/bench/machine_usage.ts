/**
 * Where the processor time of the machine goes, the database's and the broker's included, as Linux tells it in /proc.
 *
 * @module
 */

/** A process of the machine. */
export interface MachineProcess {
  /** The name of its program, such as `postgres`. */
  readonly program: string;
  /** The id of the process that started it. */
  readonly parent: number;
  /** Processor time since its start, in seconds: of all its threads, in user and kernel mode. */
  readonly cpuSeconds: number;
  /** Memory that is its alone or shared and resident now, in MiB. */
  readonly residentMiB: number;
}

/** Linux counts processor time in hundredths of a second, whatever the kernel's own clock (USER_HZ, `man 5 proc`). */
const TICKS_PER_SECOND = 100;
/** What Linux counts resident memory in, but for a few builds for arm64. */
const PAGES_PER_MIB = 256;

/** Processes by their ids, from the lines of `/proc/<pid>/stat`. A line that says something else is left out. */
export function parseStats(text: string): Map<number, MachineProcess> {
  return new Map(
    text.split("\n").flatMap((line) => {
      const [, pid, program, rest] = /^(\d+) \((.*)\) (.*)$/.exec(line) ?? []; // a program's name may contain spaces
      if (pid === undefined || program === undefined || rest === undefined) return [];
      const fields = rest.split(" ");
      const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
      const residentMiB = Number(fields[21]) / PAGES_PER_MIB;
      return [[Number(pid), { program, parent: Number(fields[1]), cpuSeconds, residentMiB }]];
    }),
  );
}

/** A meter of the whole machine. */
export interface MachineMeter {
  /** What was used since the meter was started. */
  read(): Promise<MachineUsage>;
}

/** What was used in some time; empty where there is no /proc. */
export interface MachineUsage {
  /** How long that was, in seconds. */
  readonly seconds: number;
  /**
   * Processor time in seconds, by name: the processes that were asked for by theirs, then `postgres`, `broker`,
   * `benchmark` (whoever reads the meter) and `others`. Without those that have ended meanwhile.
   */
  readonly cpuSeconds: ReadonlyMap<string, number>;
}

/** Starts a meter; `ours` are the processes that are shown by name. */
export async function startMachineMeter(ours: ReadonlyMap<string, number>): Promise<MachineMeter> {
  const startedMs = performance.now();
  const before = await readMachine();
  return {
    async read() {
      const after = await readMachine();
      const seconds = (performance.now() - startedMs) / 1000;
      return { seconds, cpuSeconds: usedBetween(before, after, ours, Deno.pid) };
    },
  };
}

/** The services, by the names of their programs. */
const SERVICES: ReadonlyMap<string, string> = new Map([["postgres", "postgres"], ["beam.smp", "broker"]]);

/** The name of the process that reads the meter. */
export const BENCHMARK = "benchmark";
/** The name under which everybody goes who has nothing to do with the system. */
export const OTHERS = "others";

/** Processor time used between two looks at the machine, in seconds; `self` is the process that looks. */
export function usedBetween(
  before: ReadonlyMap<number, MachineProcess>,
  after: ReadonlyMap<number, MachineProcess>,
  ours: ReadonlyMap<string, number>,
  self: number,
): Map<string, number> {
  const names = new Map([...ours].map(([name, pid]) => [pid, name]));
  const used = new Map<string, number>([...ours.keys()].map((name) => [name, 0]));
  for (const [pid, { program, parent, cpuSeconds }] of after) {
    // Besides the processes of ours, the embedded broker is the only lasting child of a benchmark.
    const isBroker = parent === self && program === "deno";
    const other = pid === self ? BENCHMARK : isBroker ? "broker" : SERVICES.get(program) ?? OTHERS;
    const name = names.get(pid) ?? other;
    used.set(name, (used.get(name) ?? 0) + cpuSeconds - (before.get(pid)?.cpuSeconds ?? 0));
  }
  return used;
}

/** What uses less than this share of a core is not worth a word. */
const WORTH_TELLING = 0.02;

/** The shares of a core, the largest first: `postgres 0.61, api 0.34`. */
export function describeShares({ seconds, cpuSeconds }: MachineUsage): string {
  return [...cpuSeconds]
    .map(([name, used]) => [name, used / seconds] as const)
    .filter(([, share]) => share >= WORTH_TELLING)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, share]) => `${name} ${share.toFixed(2)}`)
    .join(", ");
}

/**
 * All processes of this machine by their ids; none where there is no /proc. Through a program, because Deno itself may
 * read /proc only with every permission there is.
 */
export async function readMachine(): Promise<Map<number, MachineProcess>> {
  if (Deno.build.os !== "linux") return new Map();
  const command = new Deno.Command("sh", {
    args: ["-c", "cat /proc/[0-9]*/stat 2>/dev/null"], // some end between the listing and the reading
    stdout: "piped",
    stderr: "null",
  });
  const { stdout } = await command.output();
  return parseStats(new TextDecoder().decode(stdout));
}
