import { describe, expect, it } from 'vitest';
import { createResults } from '../../../../extension/completions/results.ts';

const uri = 'file:///a.ts';
const suffix = '\n}\n';
const prefix = 'function add(a, b) {\n  ';

describe('results', () => {
  it('are found again at the same place, and nowhere else', () => {
    const results = createResults<number>();
    expect(results.find({ uri, prefix, suffix })).toBeNull();
    results.add({ uri, prefix, suffix }, [{ text: 'return a + b;', of: 1 }]);
    expect(results.find({ uri, prefix, suffix })).toEqual([{ text: 'return a + b;', of: 1, typed: 0 }]);
    expect(results.find({ uri, prefix, suffix: '' })).toBeNull();
    expect(results.find({ uri: 'file:///a.py', prefix, suffix })).toBeNull();
    expect(results.find({ uri, prefix: `${prefix}x`, suffix })).toBeNull();
  });

  it('are found while one types into them, each that fits', () => {
    const results = createResults<number>();
    const both = [
      { text: 'return a + b;', of: 1 },
      { text: 'ref();', of: 2 },
    ];
    results.add({ uri, prefix, suffix }, both);
    expect(results.find({ uri, prefix: `${prefix}re`, suffix })).toEqual([
      { text: 'turn a + b;', of: 1, typed: 2 },
      { text: 'f();', of: 2, typed: 2 },
    ]);
    expect(results.find({ uri, prefix: `${prefix}ret`, suffix })).toEqual([{ text: 'urn a + b;', of: 1, typed: 3 }]);
    expect(results.find({ uri, prefix: `${prefix}rex`, suffix })).toBeNull();
    expect(results.find({ uri, prefix: `${prefix}return a + b;`, suffix })).toBeNull();
  });

  it('remember that there was nothing to say', () => {
    const results = createResults<number>();
    results.add({ uri, prefix, suffix }, []);
    expect(results.find({ uri, prefix, suffix })).toEqual([]);
  });

  it('forget what was not used for longest', () => {
    const results = createResults<number>();
    const place = (i: number) => ({ uri, prefix: `place ${i} of many `, suffix: `${i}` });
    for (let i = 0; i < 250; i++) results.add(place(i), [{ text: 'a', of: i }]);
    expect(results.find(place(0))).not.toBeNull();
    results.add(place(250), [{ text: 'a', of: 250 }]);
    expect(results.find(place(0))).not.toBeNull();
    expect(results.find(place(1))).toBeNull();
    results.clear();
    expect(results.find(place(0))).toBeNull();
  });
});
