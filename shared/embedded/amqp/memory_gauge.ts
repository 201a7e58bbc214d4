/** Counts the bytes that messages take, and tells when publishers must wait. */
export type MemoryGauge = {
  /** Adds bytes; the alarm is raised above the limit. */
  charge(bytes: number): void;
  /** Gives bytes back; the alarm is cleared at 90 % of the limit, so that it does not flicker. */
  refund(bytes: number): void;
  /** Whether publishers must wait. */
  raised(): boolean;
  /** Whether twice the limit is in use: publishers that had begun a message before the alarm overdid it. */
  exhausted(): boolean;
  /** Bytes charged and not yet given back. */
  usedBytes(): number;
};

const CLEAR_AT = 0.9;

/** A gauge with a limit in bytes; `onChange` is told of every raise (true) and clearance (false). */
export function createMemoryGauge(limit: number, onChange: (raised: boolean) => void): MemoryGauge {
  let used = 0;
  let raised = false;
  return {
    charge(bytes) {
      used += bytes;
      if (raised || used <= limit) return;
      raised = true;
      onChange(true);
    },
    refund(bytes) {
      used -= bytes;
      if (!raised || used > limit * CLEAR_AT) return;
      raised = false;
      onChange(false);
    },
    raised: () => raised,
    exhausted: () => used > limit * 2,
    usedBytes: () => used,
  };
}
