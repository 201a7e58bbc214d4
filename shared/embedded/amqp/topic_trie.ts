/**
 * Bindings of a topic exchange by pattern: words divided by dots, where `*` stands for exactly one word and `#`
 * for any number of words, none included (AMQP 0-9-1, section 3.1.3.3). Matching walks a tree of words, so its
 * cost grows with the key's length and the wildcards on its way, not with the number of bindings.
 */
export type TopicTrie<T> = {
  /** Adds `target` under `pattern`. */
  add(pattern: string, target: T): void;
  /** Removes it again; without effect when it is not there. */
  remove(pattern: string, target: T): void;
  /** Adds to `found` every target with a pattern that matches `key`. */
  match(key: string, found: Set<T>): void;
};

type Node<T> = { readonly children: Map<string, Node<T>>; readonly targets: Set<T> };

/** An empty trie. */
export function createTopicTrie<T>(): TopicTrie<T> {
  const root: Node<T> = emptyNode();
  return {
    add(pattern, target) {
      let node = root;
      for (const word of topicWords(pattern)) {
        const next: Node<T> = node.children.get(word) ?? emptyNode();
        node.children.set(word, next);
        node = next;
      }
      node.targets.add(target);
    },
    remove: (pattern, target) => remove(root, topicWords(pattern), 0, target),
    match: (key, found) => collect(root, topicWords(key), 0, found, new Map()),
  };
}

/** The words of a pattern or key; none in an empty one, which `*` therefore does not match. */
function topicWords(text: string): readonly string[] {
  return text === "" ? [] : text.split(".");
}

function emptyNode<T>(): Node<T> {
  return { children: new Map(), targets: new Set() };
}

function remove<T>(node: Node<T>, words: readonly string[], index: number, target: T): void {
  const word = words[index];
  if (word === undefined) {
    node.targets.delete(target);
    return;
  }
  const child = node.children.get(word);
  if (!child) return;
  remove(child, words, index + 1, target);
  if (child.targets.size === 0 && child.children.size === 0) node.children.delete(word);
}

/**
 * `seen` holds, per `#` node, how many words were left when it was entered: patterns with several `#` would
 * otherwise visit the same pair again and again, in exponential time.
 */
function collect<T>(
  node: Node<T>,
  words: readonly string[],
  index: number,
  found: Set<T>,
  seen: Map<Node<T>, number>,
): void {
  const hash = node.children.get("#");
  // Entering `#` with more words left covers every later entry, for `#` may swallow any number of them.
  if (hash && index < (seen.get(hash) ?? Infinity)) {
    const until = Math.min(seen.get(hash) ?? words.length + 1, words.length + 1);
    seen.set(hash, index);
    for (let rest = index; rest < until; rest++) collect(hash, words, rest, found, seen);
  }
  const word = words[index];
  if (word === undefined) {
    for (const target of node.targets) found.add(target);
    return;
  }
  const star = node.children.get("*");
  if (star) collect(star, words, index + 1, found, seen);
  const exact = word === "*" || word === "#" ? undefined : node.children.get(word);
  if (exact) collect(exact, words, index + 1, found, seen);
}
