/**
 * Typed reading of a config.json, or of GGUF metadata in its words. Every value is checked against what a real model can
 * have, so that families compute with numbers they can trust. Knows no family.
 */
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';

/** Every complaint is a `UserError` that names the file and the key. */
export class Config {
  constructor(
    readonly file: string,
    readonly values: Readonly<Record<string, unknown>>,
  ) {}

  /** A number from `least` to `most`. */
  number(key: string, [least, most]: Range, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'number' || !(value >= least && value <= most))
      throw this.complaint(key, `a number from ${least} to ${most}`, value);
    return value;
  }
  optionalNumber(key: string, range: Range): number | null {
    return this.get(key) === null ? null : this.number(key, range);
  }
  /** A count or size: a whole number from 1 to `most`. */
  size(key: string, most: number, fallback?: number): number {
    return this.whole(key, [1, most], fallback);
  }
  optionalSize(key: string, most: number): number | null {
    return this.get(key) === null ? null : this.size(key, most);
  }
  whole(key: string, [least, most]: Range, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most)
      throw this.complaint(key, `a whole number from ${least} to ${most}`, value);
    return value as number;
  }
  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'boolean') throw this.complaint(key, 'true or false', value);
    return value;
  }
  text(key: string, fallback: string): string {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'string') throw this.complaint(key, 'a text', value);
    return value;
  }
  /** One of `among` for each of `count` layers; null if the key is absent. */
  perLayer<T extends string | number>(key: string, among: readonly T[], count: number): readonly T[] | null {
    const value = this.get(key);
    if (value === null) return null;
    const isOne = (entry: unknown): entry is T => among.some((one) => one === entry);
    if (!Array.isArray(value) || value.length !== count || !value.every(isOne))
      throw this.complaint(key, `a list of ${count} times ${among.join(' or ')}`, value);
    return value;
  }
  /** `count` numbers of the range. */
  numbers(key: string, [least, most]: Range, count: number): readonly number[] {
    const value = this.get(key);
    const isOne = (entry: unknown): entry is number => typeof entry === 'number' && entry >= least && entry <= most;
    if (!Array.isArray(value) || value.length !== count || !value.every(isOne))
      throw this.complaint(key, `a list of ${count} numbers from ${least} to ${most}`, value);
    return value;
  }
  /** Whole numbers of the range, each at most once; none if the key is absent. */
  wholes(key: string, [least, most]: Range): readonly number[] {
    const value = this.get(key) ?? [];
    const isOne = (entry: unknown): entry is number =>
      Number.isInteger(entry) && (entry as number) >= least && (entry as number) <= most;
    if (!Array.isArray(value) || value.length > most - least + 1 || !value.every(isOne))
      throw this.complaint(key, `a list of whole numbers from ${least} to ${most}`, value);
    return value;
  }
  /** Keys with a value other than null or false. */
  keys(): string[] {
    return Object.keys(this.values).filter((key) => this.get(key) !== null && this.get(key) !== false);
  }
  has(key: string): boolean {
    return this.get(key) !== null;
  }
  object(key: string): Config | null {
    const value = this.get(key);
    if (value === null) return null;
    if (typeof value !== 'object' || Array.isArray(value)) throw this.complaint(key, 'an object', value);
    return new Config(this.file, value as Record<string, unknown>);
  }
  complaint(key: string, wanted: string, value: unknown): Error {
    const got = value === undefined || value === null ? 'is missing' : `is ${shownValue(value)}`;
    return userError(
      'bad-model',
      `${this.file}: "${key}" must be ${wanted}, but ${got}.`,
      'Get the model’s original configuration.',
    );
  }
  /** Null if the key is absent. Names come from outside, so properties that every object inherits are not values of the file. */
  private get(key: string): unknown {
    return Object.hasOwn(this.values, key) ? (this.values[key] ?? null) : null;
  }
}

/** Least and most. */
export type Range = readonly [number, number];

/**
 * What no real model exceeds, with room: they keep a lying file from asking for terabytes, and nonsense from becoming numbers.
 */
export const limits = {
  layers: 1024,
  vocabulary: 2 ** 22,
  hidden: 2 ** 18,
  feedForward: 2 ** 22,
  heads: 2 ** 12,
  experts: 2 ** 12,
  /** Of all experts of a layer together. */
  mixtureWidth: 2 ** 23,
  headDimensions: 2 ** 13,
  context: 2 ** 31,
  epsilon: [1e-30, 0.1],
  /** Base of the rotary frequencies. */
  theta: [1, 1e15],
  /** How much longer a rotary scaling makes the context. */
  ropeFactor: [1e-3, 1e6],
  /** Share of a head that rotates. */
  rotaryShare: [0, 1],
  queryScalar: [1e-3, 1e6],
  /** Factors on embeddings, branches, scores and logits. */
  scale: [1e-6, 1e6],
  /** How often a dimension turns within a context (YaRN). */
  rotations: [1e-6, 1e6],
  softcap: [1e-3, 1e6],
} as const satisfies Readonly<Record<string, number | Range>>;
