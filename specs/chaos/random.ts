/**
 * Random numbers that a seed determines.
 *
 * @module
 */

/** A source of random numbers. */
export interface Random {
  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number;
  /** A number from [0, 1). */
  fraction(): number;
  /** The same items in a random order; the array that is passed in is left alone. */
  shuffled<T>(items: readonly T[]): T[];
}

/**
 * Random numbers out of a seed, of which the lower 32 bits count: mulberry32 by Tommy Ettinger, in the public domain
 * (https://gist.github.com/tommyettinger/46a874533244883189143505d203312c). Good enough to choose faults by.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (min: number, max: number) => min + Math.floor(fraction() * (max - min + 1));
  return {
    int,
    fraction,
    shuffled(items) {
      const left = [...items];
      return items.map(() => left.splice(int(0, left.length - 1), 1)).flat();
    },
  };
}

/**
 * Deals cards from a shuffled deck, and shuffles anew when it is used up: random, and yet every card comes once in as
 * many deals as there are cards.
 */
export function dealFrom<T>(cards: readonly [T, ...T[]], random: Random): () => T {
  let deck: T[] = [];
  return () => {
    if (deck.length === 0) deck = random.shuffled(cards);
    return deck.pop() ?? cards[0];
  };
}
