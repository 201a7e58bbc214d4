/**
 * A seed for what a fuzz test generates, so that a failure can be had again.
 *
 * @module
 */

/**
 * Runs `run` with the seed that the variable `FUZZ_SEED` names, or with a random one.
 *
 * Errors: what `run` rejects with, as the cause of an error that names the seed.
 */
export async function withFuzzSeed(run: (seed: number) => Promise<void>): Promise<void> {
  const seed = Number(Deno.env.get("FUZZ_SEED")) || Math.floor(Math.random() * 2 ** 31);
  try {
    await run(seed);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`With FUZZ_SEED=${seed}: ${why}`, { cause });
  }
}
