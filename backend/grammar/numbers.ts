/** Numbers within bounds as expressions. A number here has at most sixteen digits before its point, and fifteen behind it. */
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

/** Of a number without a bound. */
const mostWhole = 10n ** 16n - 1n;
/** Of a bound: whole numbers up to here, and those beside them, are exact. */
const largest = 10 ** 15;
const digitsBehind = 15;
const zeros = '0'.repeat(digitsBehind);
const nines = '9'.repeat(digitsBehind);

/** @throws UserError if no whole number that can be written lies between. */
export function integerBetween({ least, most, isOpenBelow, isOpenAbove }: Bounds): Expression {
  const from = isOpenBelow ? Math.floor(least) + 1 : Math.ceil(least);
  const to = isOpenAbove ? Math.ceil(most) - 1 : Math.floor(most);
  if (from > to) throw badGrammar('no number lies within its bounds');
  if (from > largest || to < -largest) throw noneBetween(least, most);
  const options: Expression[] = [];
  if (to >= 0) options.push(natural(wholeUpTo(Math.max(0, from)), wholeUpTo(to)));
  if (from < 0) options.push(sequence(text('-'), natural(wholeUpTo(Math.max(1, -to)), wholeUpTo(-from))));
  return choice(...options);
}

/** @throws UserError if no number that can be written lies between. */
export function numberBetween(bounds: Bounds): Expression {
  const { least, most, isOpenBelow, isOpenAbove } = bounds;
  const negated = { least: -most, most: -least, isOpenBelow: isOpenAbove, isOpenAbove: isOpenBelow };
  const positive = decimals(least < 0 ? { ...bounds, least: 0, isOpenBelow: false } : bounds);
  const negative = decimals(most >= 0 ? { ...negated, least: 0, isOpenBelow: true } : negated);
  if (positive === null && negative === null) throw noneBetween(least, most);
  return choice(
    ...(positive === null ? [] : [positive]),
    ...(negative === null ? [] : [sequence(text('-'), negative)]),
  );
}

const noneBetween = (least: number, most: number): Error =>
  badGrammar(`no number between ${least} and ${most} can be written`);

/** The far bound may be beyond what can be written. */
const wholeUpTo = (bound: number): bigint => (bound === Infinity ? mostWhole : BigInt(Math.min(bound, largest)));

/** Numbers that are not negative; null if there are none. */
function decimals({ least, most, isOpenBelow, isOpenAbove }: Bounds): Expression | null {
  if (most < 0 || least > largest) return null;
  const low = units(least, 'up') + (isOpenBelow ? gapAt(least) : 0n);
  const high = most === Infinity ? (mostWhole + 1n) * unitsInOne - 1n : units(Math.min(most, largest), 'down') - (isOpenAbove ? gapAt(most) : 0n); // prettier-ignore
  if (low > high) return null;
  const [first, last] = [low / unitsInOne, high / unitsInOne];
  const [behindFirst, behindLast] = [low, high].map((of) => String(of % unitsInOne).padStart(digitsBehind, '0'));
  if (first === last) return sequence(text(String(first)), fraction(behindFirst!, behindLast!));
  const options = [
    sequence(text(String(first)), fraction(behindFirst!, nines)),
    sequence(text(String(last)), fraction(zeros, behindLast!)),
  ];
  if (last - first > 1n) options.push(sequence(natural(first + 1n, last - 1n), fraction(zeros, nines)));
  return choice(...options);
}

const unitsInOne = 10n ** BigInt(digitsBehind);

/** A number as a count of the last digit behind the point, rounded if it has more digits. */
function units(value: number, round: 'up' | 'down'): bigint {
  const [digits = '', exponent] = value.toExponential().split('e');
  const [whole = '', behind = ''] = digits.split('.');
  const shift = Number(exponent) - behind.length + digitsBehind;
  const count = BigInt(whole + behind);
  if (shift >= 0) return count * 10n ** BigInt(shift);
  const unit = 10n ** BigInt(-shift);
  return (count + (round === 'up' ? unit - 1n : 0n)) / unit;
}

/** The distance that is kept to a bound that is excluded. Readers keep about fifteen digits, and may round a nearer number to the bound. */
const gapAt = (bound: number): bigint => 10n ** BigInt(bound < 1 ? 0 : String(wholeUpTo(Math.floor(bound))).length);

/** A whole number that is not negative, from one to another. */
function natural(from: bigint, to: bigint): Expression {
  const [least, most] = [String(from), String(to)];
  const options: Expression[] = [];
  for (let length = least.length; length <= most.length; length++) {
    const low = length === least.length ? least : `1${'0'.repeat(length - 1)}`;
    const high = length === most.length ? most : '9'.repeat(length);
    options.push(digitsBetween(low, high, length));
  }
  return choice(...options);
}

/** A point and digits behind it, or nothing if that is within. Both of one length. */
function fraction(low: string, high: string): Expression {
  const some = sequence(text('.'), digitsBetween(low, high, 1));
  return /^0*$/.test(low) ? choice(some, nothing) : some;
}

/** Digits, at least `needed` of them; those that are left out are zeros. Both of one length. */
function digitsBetween(low: string, high: string, needed: number): Expression {
  if (low === '') return nothing;
  const free = low.length;
  const isFromZero = /^0*$/.test(low);
  if (isFromZero && /^9*$/.test(high)) return repeat(anyOf('09'), needed, free);
  const rest = Math.max(0, needed - 1);
  const [first, last] = [Number(low[0]), Number(high[0])];
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  const options: Expression[] = [];
  if (first === last) options.push(sequence(text(low[0]!), digitsBetween(lowRest, highRest, rest)));
  else
    options.push(
      sequence(text(low[0]!), digitsBetween(lowRest, '9'.repeat(free - 1), rest)),
      sequence(text(high[0]!), digitsBetween('0'.repeat(free - 1), highRest, rest)),
    );
  if (last - first > 1) options.push(sequence(anyOf(`${first + 1}${last - 1}`), repeat(anyOf('09'), rest, free - 1)));
  if (isFromZero && needed === 0) options.push(nothing);
  return choice(...options);
}
