/** Damage to texts of lines, and to chat templates, which are programs. */
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import { below, pick } from '../trial.ts';
import { damageBytes } from './bytes.ts';
import { damageValue } from './json.ts';
import { hostileNumber, hostileText, oneOf, type Mutation } from './mutation.ts';

const onLines =
  (change: (lines: string[], at: number, random: Random) => readonly string[]): Mutation =>
  (bytes, random) => {
    const lines = bytes.toString().split('\n');
    return Buffer.from(change(lines, below(random, lines.length), random).join('\n'));
  };

const dropLine = onLines((lines, at) => lines.toSpliced(at, 1));
const doubleLine = onLines((lines, at) => lines.toSpliced(at, 0, lines[at]!));
const swapLines = onLines((lines, at, random) => {
  const other = below(random, lines.length);
  return lines.with(at, lines[other]!).with(other, lines[at]!);
});
const hostileWord = onLines((lines, at, random) => {
  const words = lines[at]!.split(' ');
  const word = random() < 0.5 ? String(hostileNumber(random)) : hostileText(random);
  return lines.with(at, words.with(below(random, words.length), word).join(' '));
});
const hostileLine = onLines((lines, at, random) => lines.toSpliced(at, 0, hostileText(random)));
const endings = onLines((lines, at, random) => {
  const end = pick(random, ['\r', '\u2028', '\0', '\ufeff']);
  return random() < 0.5 ? lines.map((line) => `${line}${end}`) : lines.with(at, `${end}${lines[at]!}`);
});
/** A line of JSON with a value of it changed. */
const damageLine = onLines((lines, at, random) => {
  try {
    return lines.with(at, JSON.stringify(damageValue(JSON.parse(lines[at]!), random)) ?? '');
  } catch {
    return lines.with(at, lines[at]!.slice(1)); // it is no JSON: it is damaged otherwise
  }
});

export const damageLines = oneOf([
  [1, dropLine],
  [1, doubleLine],
  [1, swapLines],
  [3, hostileWord],
  [1, hostileLine],
  [1, endings],
  [2, damageBytes],
]);

export const damageJsonLines = oneOf([
  [4, damageLine],
  [1, endings],
  [1, dropLine],
  [2, damageBytes],
]);

/** Programs that never end, that fill the memory, that fail, that reach for what is not theirs. */
const hostilePrograms = [
  '{% for i in range(1000000000) %}x{% endfor %}',
  '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
  '{% set ns = namespace(s="x") %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}',
  '{{ "x" * 1000000000 }}',
  '{{ range(4294967296) | join }}',
  '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
  '{{ messages.constructor.constructor("return process")() }}',
  '{{ ({}).__proto__ }}',
  '{{ toString }}',
  '{{ raise_exception("\u001b[31mred\u0007") }}',
  '{{ messages[999].content }}',
  '{{ messages[0]["content"]["x"]["y"] }}',
  '{{ 1 / 0 }}',
  '{{ none.x }}',
  '{{ undefined_function() }}',
  '{% if %}',
  '{% for %}',
  '{{',
  '{#',
  '{% include "/etc/passwd" %}',
  '{{ "\u202e\u0000" }}',
  `${'{% if true %}'.repeat(3000)}`,
  `{{ ${'('.repeat(5000)}1${')'.repeat(5000)} }}`,
];

const hostileTemplate: Mutation = (bytes, random) => {
  const text = bytes.toString();
  const at = below(random, text.length + 1);
  return Buffer.from(
    random() < 0.5
      ? pick(random, hostilePrograms)
      : `${text.slice(0, at)}${pick(random, hostilePrograms)}${text.slice(at)}`,
  );
};

export const damageTemplate = oneOf([
  [3, hostileTemplate],
  [2, damageBytes],
]);
