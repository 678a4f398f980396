/** Who is next among those that wait, in turns. Knows neither clients nor texts. */

export interface Turns<Item> {
  readonly size: number;
  add(item: Item): void;
  /** The item whose turn it is; it stays in the queue, and the next call returns that of another client. */
  next(): Item | undefined;
  /** Does nothing if the item does not wait. */
  remove(item: Item): void;
}

/** Either items in order of arrival, or queues by name, which take turns in order. */
interface Line<Item> {
  readonly items: Item[];
  readonly lines: Map<string, Line<Item>>;
}

const newLine = <Item>(): Line<Item> => ({ items: [], lines: new Map() });

/**
 * Turns go round among the first names of all paths, then among the second names of each … those of one path keep their order. Paths
 * have one length.
 */
export function newTurns<Item>(pathOf: (item: Item) => readonly string[]): Turns<Item> {
  const all = newLine<Item>();
  let size = 0;

  const removeFrom = (line: Line<Item>, [name, ...path]: readonly string[], item: Item): void => {
    if (name === undefined) {
      const at = line.items.indexOf(item);
      if (at < 0) return;
      line.items.splice(at, 1);
      size--;
      return;
    }
    const inner = line.lines.get(name);
    if (inner === undefined) return;
    removeFrom(inner, path, item);
    if (inner.items.length + inner.lines.size === 0) line.lines.delete(name);
  };

  return {
    get size() {
      return size;
    },
    add(item) {
      let line = all;
      for (const name of pathOf(item)) {
        const inner = line.lines.get(name) ?? newLine<Item>();
        line.lines.set(name, inner);
        line = inner;
      }
      line.items.push(item);
      size++;
    },
    next() {
      let line = all;
      for (;;) {
        const [first] = line.lines;
        if (first === undefined) return line.items[0];
        const [name, inner] = first;
        line.lines.delete(name);
        line.lines.set(name, inner);
        line = inner;
      }
    },
    remove: (item) => removeFrom(all, pathOf(item), item),
  };
}
