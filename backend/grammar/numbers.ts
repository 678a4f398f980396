/** Numbers within bounds as expressions. A number of JSON here has at most sixteen digits before its point. */
import { badGrammar } from './code.ts';
import { anyOf, choice, nothing, repeat, sequence, text, type Expression } from './expression.ts';

export interface Bounds {
  /** Both bounds are included; ±Infinity for no bound. */
  readonly least: number;
  readonly most: number;
  /** Neither may be. */
  readonly isOpenBelow: boolean;
  readonly isOpenAbove: boolean;
}

const mostDigits = 16;
const largest = 10 ** 15;

/** @throws UserError if no whole number lies between. */
export function integerBetween({ least, most, isOpenBelow, isOpenAbove }: Bounds): Expression {
  const from = isOpenBelow ? Math.floor(least) + 1 : Math.ceil(least);
  const to = isOpenAbove ? Math.ceil(most) - 1 : Math.floor(most);
  return whole(from, to);
}

/** @throws UserError if none can be written. */
export function numberBetween(bounds: Bounds): Expression {
  const { least, most, isOpenBelow, isOpenAbove } = bounds;
  const from = Math.ceil(least);
  const to = Math.floor(most);
  const options: Expression[] = [];
  const isOpenFrom = isOpenBelow && from === least;
  const isOpenTo = isOpenAbove && to === most;
  // Whole numbers within, and those with a fraction that lead away from 0 and stay within.
  const below = isOpenFrom ? from + 1 : from;
  const above = isOpenTo ? to - 1 : to;
  if (below <= above) options.push(whole(below, above));
  if (to - 1 >= Math.max(0, from)) options.push(sequence(whole(Math.max(0, from), to - 1), somewhat()));
  if (from + 1 <= Math.min(0, to))
    options.push(sequence(text('-'), whole(-Math.min(0, to), from === -Infinity ? Infinity : -from - 1), somewhat()));
  if (options.length === 0) throw badGrammar(`no number between ${least} and ${most} can be written`);
  return choice(...options);
}

/** A fraction that is not 0. */
const somewhat = (): Expression =>
  sequence(text('.'), repeat(text('0'), 0, 12), anyOf('19'), repeat(anyOf('09'), 0, 12));

function whole(from: number, to: number): Expression {
  if (from > to) throw badGrammar('no number lies within its bounds');
  const [least, most] = [from, to].map((bound) =>
    Number.isFinite(bound) ? Math.max(-largest, Math.min(largest, bound)) : bound,
  );
  const options: Expression[] = [];
  if (most! >= 0) options.push(natural(Math.max(0, least!), most!));
  if (least! < 0) options.push(sequence(text('-'), natural(Math.max(1, -most!), -least!)));
  return choice(...options);
}

/** A whole number that is not negative, from one to another. */
function natural(from: number, to: number): Expression {
  const least = String(from);
  const most = to === Infinity ? '9'.repeat(mostDigits) : String(to);
  const options: Expression[] = [];
  for (let length = least.length; length <= most.length; length++) {
    const low = length === least.length ? least : `1${'0'.repeat(length - 1)}`;
    const high = length === most.length ? most : '9'.repeat(length);
    options.push(digitsBetween(low, high));
  }
  return choice(...options);
}

/** Both of one length. */
function digitsBetween(low: string, high: string): Expression {
  if (low === '') return nothing;
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(anyOf('09'), low.length, low.length);
  const [first, last] = [Number(low[0]), Number(high[0])];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (first === last) return sequence(text(low[0]!), digitsBetween(lowRest, highRest));
  const free = lowRest.length;
  const options = [
    sequence(text(low[0]!), digitsBetween(lowRest, '9'.repeat(free))),
    sequence(text(high[0]!), digitsBetween('0'.repeat(free), highRest)),
  ];
  if (last - first > 1) options.push(sequence(anyOf(`${first + 1}${last - 1}`), repeat(anyOf('09'), free, free)));
  return choice(...options);
}
