/** A mutation is a pure function of bytes and random numbers. */
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { pick, pickByWeight } from '../trial.ts';

export type Mutation = (bytes: Buffer, random: Random) => Buffer;

/** One of several, each as likely as its weight says. */
export const oneOf =
  (choices: readonly (readonly [weight: number, mutation: Mutation])[]): Mutation =>
  (bytes, random) =>
    pickByWeight(
      random,
      choices.map(([weight, mutation]) => ({ weight, mutation })),
    ).mutation(bytes, random);

/** Numbers that no file should hold, and those at which arithmetic turns over. */
export const hostileNumbers = [
  0,
  -1,
  1,
  -0.5,
  0.5,
  3,
  7,
  127,
  255,
  65_537,
  16_777_216,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 40,
  2 ** 53,
  1e19,
  1e-320,
  1e38,
  1e300,
  -1e308,
];

/** Texts that are names of something, or do harm where they are shown. */
export const hostileTexts = [
  '',
  'toString',
  '__proto__',
  'constructor',
  '../../../../etc/passwd',
  '/dev/zero',
  'file:///etc/passwd',
  '\u001b[2J\u001b]0;title\u0007',
  '\u202eexe.txt',
  '![x](https://127.0.0.1:9/x)',
  '\0',
  '\ud800',
  'NaN',
  '-1',
  'x'.repeat(100_000),
];

export const hostileNumber = (random: Random): number => pick(random, hostileNumbers);
export const hostileText = (random: Random): string => pick(random, hostileTexts);
