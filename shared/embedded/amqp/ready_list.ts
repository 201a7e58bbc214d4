/**
 * A queue's ready messages in the order of their positions, also after some went out and came back. Whatever comes back was
 * at the head once, so it precedes everything still waiting: `returned` is a heap in front of the plain list `waiting`.
 * Adding and taking take constant time, coming back O(log n).
 */
export type ReadyList<T extends Positioned> = {
  /** Slots before `head` are empty; they are cut off once they are half of all. */
  readonly waiting: (T | undefined)[];
  head: number;
  readonly returned: T[];
};

type Positioned = { readonly position: number };

const MIN_CUT = 1024;

/** An empty list. */
export function createReadyList<T extends Positioned>(): ReadyList<T> {
  return { waiting: [], head: 0, returned: [] };
}

/** How many there are. */
export function countReady(list: ReadyList<Positioned>): number {
  return list.waiting.length - list.head + list.returned.length;
}

/** The item of lowest position, left where it is. */
export function peekReady<T extends Positioned>({ waiting, head, returned }: ReadyList<T>): T | undefined {
  return returned.length > 0 ? returned[0] : waiting[head];
}

/** Adds an item whose position is above all earlier ones. */
export function addReady<T extends Positioned>(list: ReadyList<T>, item: T): void {
  list.waiting.push(item);
}

/** Takes the item of lowest position. */
export function takeReady<T extends Positioned>(list: ReadyList<T>): T | undefined {
  const { waiting, returned } = list;
  if (returned.length > 0) return popHeap(returned);
  const item = waiting[list.head];
  if (item === undefined) return undefined;
  waiting[list.head++] = undefined;
  if (list.head === waiting.length || (list.head >= MIN_CUT && list.head * 2 >= waiting.length)) {
    waiting.splice(0, list.head);
    list.head = 0;
  }
  return item;
}

/** Puts an item back that was taken before. */
export function putBackReady<T extends Positioned>({ returned: heap }: ReadyList<T>, item: T): void {
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
