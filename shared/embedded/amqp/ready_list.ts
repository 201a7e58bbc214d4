import { createRingQueue } from "./ring_queue.ts";

/**
 * A queue's ready messages in publishing order, also after some went out and came back.
 *
 * Whatever comes back was at the head once, so it precedes everything still waiting: those that came back are
 * kept in a heap by position, in front of a plain ring. Adding and taking is O(1), coming back O(log n).
 */
export type ReadyList<T extends { readonly position: number }> = {
  readonly length: number;
  /** Adds an item whose position is above all earlier ones. */
  push(item: T): void;
  /** Puts an item back where it was taken from. */
  putBack(item: T): void;
  /** Takes the item of lowest position; `undefined` when empty. */
  shift(): T | undefined;
  /** The item of lowest position, left where it is. */
  peek(): T | undefined;
};

/** An empty list. */
export function createReadyList<T extends { readonly position: number }>(): ReadyList<T> {
  const waiting = createRingQueue<T>();
  const returned: T[] = [];
  return {
    get length() {
      return waiting.length + returned.length;
    },
    push: (item) => waiting.push(item),
    putBack: (item) => pushHeap(returned, item),
    shift: () => returned.length > 0 ? popHeap(returned) : waiting.shift(),
    peek: () => returned.length > 0 ? returned[0] : waiting.peek(),
  };
}

type Positioned = { readonly position: number };

function pushHeap<T extends Positioned>(heap: T[], item: T): void {
  let index = heap.push(item) - 1;
  while (index > 0) {
    const parentIndex = (index - 1) >> 1;
    const parent = heap[parentIndex];
    if (parent === undefined || parent.position <= item.position) break;
    heap[index] = parent;
    index = parentIndex;
  }
  heap[index] = item;
}

function popHeap<T extends Positioned>(heap: T[]): T | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let index = 0;
  for (;;) {
    let childIndex = index * 2 + 1;
    let child = heap[childIndex];
    const right = heap[childIndex + 1];
    if (child !== undefined && right !== undefined && right.position < child.position) {
      childIndex++;
      child = right;
    }
    if (child === undefined || child.position >= last.position) break;
    heap[index] = child;
    index = childIndex;
  }
  heap[index] = last;
  return top;
}
