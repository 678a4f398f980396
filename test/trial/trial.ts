/**
 * What a trial is made of: kinds, each a numbered row of attempts. An attempt is a function of the seed, its kind and its number
 * alone, so that any one of them can be repeated.
 */
import { seededRandom, type Random } from '../../backend/decoding/sampling/random.ts';
import type { Program } from './program.ts';

export type Verdict =
  | { readonly verdict: 'held' }
  | { readonly verdict: 'failed'; readonly why: string }
  /** It cannot be tried on this machine. */
  | { readonly verdict: 'skipped'; readonly why: string };

export interface Attempt {
  readonly index: number;
  readonly random: Random;
  /** Its own and empty; kept if it fails. */
  readonly folder: string;
}

export interface Kind {
  readonly name: string;
  /** What is done to the program, in a few words. */
  readonly tries: string;
  /** What it takes to hold, beyond what holds for every attempt. */
  readonly promise: string;
  /** Of a whole trial. */
  readonly attempts: number;
  /** Of `npm test`; none if its other tests try the same. */
  readonly inTests: number;
  /** How many attempts run side by side. */
  readonly lanes: 1 | 2;
  open(workplace: Workplace): Promise<Lane>;
}

/** What attempts of one kind, one after the other, share. */
export interface Lane {
  attempt(attempt: Attempt): Promise<Verdict>;
  close(): Promise<void>;
}

export interface Workplace {
  /** The program under trial. */
  readonly program: Program;
  /** For material that attempts share. */
  readonly folder: string;
}

export const held: Verdict = { verdict: 'held' };
export const failed = (why: string): Verdict => ({ verdict: 'failed', why });
export const skipped = (why: string): Verdict => ({ verdict: 'skipped', why });

/** A kind whose attempts share nothing. */
export const alone = (attempt: Lane['attempt']): Lane => ({ attempt, close: () => Promise.resolve() });

/** The random numbers of one attempt: FNV-1a of its name is the seed. */
export function randomOf(seed: number, kind: string, index: number): Random {
  let hash = 0x811c9dc5;
  for (const character of `${seed}/${kind}/${index}`) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  return seededRandom(hash);
}

export const below = (random: Random, limit: number): number => Math.floor(random() * limit);

export function pick<T>(random: Random, list: readonly T[]): T {
  if (list.length === 0) throw new Error('there is nothing to pick from');
  return list[below(random, list.length)]!;
}

export function pickByWeight<T extends { readonly weight: number }>(random: Random, list: readonly T[]): T {
  let rest = random() * list.reduce((sum, { weight }) => sum + weight, 0);
  return list.find(({ weight }) => (rest -= weight) < 0) ?? list.at(-1)!;
}
