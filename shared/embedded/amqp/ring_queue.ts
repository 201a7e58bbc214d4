/** A first-in, first-out queue in a ring that doubles when full: every operation takes (amortised) constant time. */
export type RingQueue<T> = {
  readonly length: number;
  /** Adds at the tail. */
  push(item: T): void;
  /** Takes from the head; `undefined` when empty. */
  shift(): T | undefined;
  /** The head, left where it is. */
  peek(): T | undefined;
};

const INITIAL_SLOTS = 16;

/** An empty queue. */
export function createRingQueue<T>(): RingQueue<T> {
  let slots: (T | undefined)[] = new Array(INITIAL_SLOTS).fill(undefined);
  let head = 0;
  let length = 0;

  /** The number of slots is a power of two, so that a mask wraps an index around. */
  function resize(size: number): void {
    const resized: (T | undefined)[] = new Array(size).fill(undefined);
    for (let index = 0; index < length; index++) resized[index] = slots[(head + index) & (slots.length - 1)];
    slots = resized;
    head = 0;
  }

  return {
    get length() {
      return length;
    },
    push(item) {
      if (length === slots.length) resize(slots.length * 2);
      slots[(head + length) & (slots.length - 1)] = item;
      length++;
    },
    shift() {
      if (length === 0) return undefined;
      const item = slots[head];
      slots[head] = undefined;
      head = (head + 1) & (slots.length - 1);
      length--;
      if (slots.length > 1024 && length < slots.length / 8) resize(slots.length / 2);
      return item;
    },
    peek: () => length === 0 ? undefined : slots[head],
  };
}
