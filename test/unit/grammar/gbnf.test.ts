/** GBNF as llama.cpp has it: what fits, what is refused, and what a hostile one may cost. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { inMask, type Allowed } from '../../../backend/data/prompts/allowed.ts';
import { finish } from '../../../backend/data/steps.ts';
import { seededRandom } from '../../../backend/decoding/sampling/random.ts';
import { compileRules } from '../../../backend/grammar/code.ts';
import { openGrammar } from '../../../backend/grammar/constraint.ts';
import { parseGbnf } from '../../../backend/grammar/gbnf.ts';
import { newStates, type State } from '../../../backend/grammar/states.ts';
import { readVocabulary, type TokenTexts } from '../../../backend/grammar/vocabulary.ts';
import { fitting } from '../../support/grammars.ts';
import { shippedModel } from '../../support/golden.ts';
import { sentencePieceFile } from '../data/fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
afterAll(() => rmSync(folder, { recursive: true }));
const tokenizer = loadTokenizer(shippedModel);
const vocabulary = finish(readVocabulary(tokenizer));
const open = (source: string, ends: readonly number[] = [0]): Allowed =>
  finish(openGrammar(parseGbnf(source), tokenizer, vocabulary, ends));

describe('what fits', () => {
  test.each<[string, string[], string[]]>([
    ['root ::= "a" | "b" "c"', ['a', 'bc'], ['', 'b', 'ab', 'bca']],
    ['root ::= "a"* "b"+ "c"?', ['b', 'aabbc'], ['a', 'c', 'bca']],
    ['root ::= "a"{2} "b"{1,} "c"{0,2} "d"{,3}'.replace(' "d"{,3}', ''), ['aab', 'aabbcc'], ['ab', 'aa', 'aabccc']],
    ['root ::= [a-cx] [^a-c\\n]', ['ad', 'xä', 'b🦊'], ['aa', 'a\n', 'd.']],
    ['root ::= [α-ω]+ [🦊-🦋]', ['αω🦊'], ['a🦊', 'α🦌']],
    ['root ::= . "\\x41" "\\u00e4" "\\n\\"\\\\"', ['🦊Aä\n"\\', 'xAä\n"\\'], ['Aä\n"\\']],
    // Comments, rules over several lines, groups over lines.
    ['# one\nroot ::= item (\n  "," item # two\n)* |\n  "none"\n\nitem ::= [0-9]+', ['1', '1,22', 'none'], ['', '1,']],
    ['root ::= "(" root ")" | ""', ['', '()', '((()))'], ['(', ')(', '(()']],
    ['root ::= expr\nexpr ::= term (("+" | "-") term)*\nterm ::= "(" expr ")" | [0-9]', ['1+(2-3)'], ['1+', '(1']],
    ['root ::= ("a"*)* "b"', ['b', 'aaab'], ['a']],
    // Blanks before signs and within braces, signs behind each other, a line end within a text.
    ['root ::= "a" * "b"{1, 2} [0-9] { 2 , }', ['b12', 'aabb123'], ['b1', 'abbb12']],
    ['root ::= ("a" # one\n*\n"b"\n{2})', ['bb', 'abb'], ['ab']],
    ['root ::= "ab"+? "c"?+', ['', 'abab', 'ccc', 'abc'], ['a', 'cab']],
    ['root ::= "a\nb"', ['a\nb'], ['a', 'ab']],
    ['root ::= [-a] []b]'.replace('[]b]', '[\\]b]'), ['-]', 'ab'], ['c]']],
  ])('%s', (source, whole, other) => {
    const { whole: fits } = fitting(parseGbnf(source));
    for (const text of whole) expect([text, fits(text)]).toEqual([text, true]);
    for (const text of other) expect([text, fits(text)]).toEqual([text, false]);
  });

  test("a grammar of llama.cpp's own: JSON", () => {
    const { whole } = fitting(parseGbnf(readFileSync('test/fixtures/grammars/json.gbnf', 'utf8')));
    for (const value of [{}, { a: [1, -2.5e3, null], b: { c: 'x\n"ä' } }])
      expect(whole(JSON.stringify(value))).toBe(true);
    for (const text of ['{a:1}', '{"a":01}', '[1]', '{"a":1,}']) expect(whole(text)).toBe(false);
  });
});

test('an alternative that never ends is as one that is not there', () => {
  const allowed = open('root ::= "x" ("a" | endless)\nendless ::= "b" endless');
  const [a, b] = ['xa', 'xb'].map((text) =>
    tokenizer.encode(text, { addSpecial: false }).reduce((at, id) => at.after(id)!, allowed),
  );
  expect([a!.end, b!.end]).toEqual(['complete', 'given-up']);
});

describe('refused in one sentence', () => {
  test.each([
    ['', /there is no rule root/],
    ['root = "a"', /line 1 has "= \\"a\\"" in the place of ::=/],
    ['root ::= "a\n', /line 2 has its end in the place of the end of a text/],
    ['root ::= [a', /in the place of/],
    ['root ::= ("a"', /in the place of \)/],
    ['root ::= other', /there is no rule other/],
    ['root ::= "\\q"', /an escape/],
    ['root ::= "a" |\n  <[12]> "b"', /line 2 names a token, which is not supported/],
    ['root ::= !<think>', /names a token/],
    ['root ::= "a"{3,2}', /at least 3 times, at most 2/],
    ['root ::= root "a" | "b"', /begins with itself/],
    ['root ::= a "x" | "y"\na ::= root | "z"', /begins with itself/],
    ['root ::= b root "x" | "y"\nb ::= ""', /begins with itself/],
    ['root ::= root', /no text fits it/],
    ['root ::= a\na ::= root', /no text fits it/],
    ['root ::= "a" root', /no text fits it/],
    ['root ::= []', /no text fits it/],
    ['root ::= ("ab" | "c"){100000}', /more than 200000 parts/],
    [`root ::= ${'('.repeat(300)}"a"${')'.repeat(300)}`, /nested deeper than 200/],
  ])('%s', (source, message) => {
    expect(() => open(source)).toThrow(message);
  });

  test.each([
    ['signs', `root ::= "a"${'+'.repeat(100_000)}`, /nested deeper than 200/],
    ['alternatives', `root ::= ${'.|'.repeat(120_000)}.`, /more than 200000 parts/],
    ['alternatives behind a beginning', `root ::= ${Array.from({ length: 800 }, () => '"{" ("a" | "b" | "c")').join(' | ')}`, /begin in too many ways/], // prettier-ignore
    ['repetitions', `root ::= ${'.{60000} '.repeat(2_000)}`, /more than 200000 parts/],
    ['parts', `root ::= ${'. '.repeat(130_000)}"\\xff"{100000}`, /more than 200000 parts/],
  ])('very many %s', (_, source, message) => {
    expect(() => open(source)).toThrow(message);
  });

  test.each([
    ['ways that double with each byte', 'root ::= "a" root "b" | "a" root "c" | "d"', 'a'],
    ['wide alternatives over and over', `root ::= (${Array.from({ length: 400 }, (_, i) => `"${i % 10}"{${1 + (i % 40)}}`).join(' | ')})*`, '1'], // prettier-ignore
    ['every word of a list, again and again', `root ::= ([a-z]{1,200} | [a-z]{1,199} " ")* [.]`, 'x'],
  ])('%s: never takes long', (_, source, letter) => {
    const started = performance.now();
    let at: Allowed = open(source);
    const [id] = tokenizer.encode(letter, { addSpecial: false });
    let longest = 0;
    for (let i = 0; i < 40 && at.end === null; i++) {
      const before = performance.now();
      at.mask();
      at = at.after(id!)!;
      longest = Math.max(longest, performance.now() - before);
    }
    expect(longest).toBeLessThan(1_000);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

test('what is remembered of a grammar stays within its bound, also of states that outlive it', () => {
  const states = newStates(finish(compileRules(parseGbnf('root ::= ("(" root ")" | "[" root "]")*'))));
  const reachable = (): number => {
    const found = new Set([states.root]);
    for (const state of found) for (const next of state.next) if (next) found.add(next);
    return found.size;
  };
  const random = seededRandom(1);
  let most = 0;
  for (let i = 0; i < 4_000; i++) {
    let at: State | null = states.root;
    for (let depth = 0; depth < 16; depth++) at = states.after(at!, '(['.charCodeAt(Math.floor(random() * 2)));
    if (i % 100 === 0) most = Math.max(most, reachable());
  }
  expect(most).toBeGreaterThan(1_000);
  expect(most).toBeLessThan(2_100);
});

describe('over tokens', () => {
  const byEach = (allowed: Allowed, tokens: TokenTexts): number[] =>
    Array.from({ length: tokens.vocabularySize }, (_, id) => id).filter((id) => allowed.allows(id));
  const ofMask = (mask: Uint32Array | null, size: number): number[] =>
    Array.from({ length: size }, (_, id) => id).filter((id) => mask !== null && inMask(mask, id));

  test.each([
    ['byte-level', 'root ::= "const " [a-z]+ " = " ["] [^"\\n]* ["] ";"', 'const value = "ä 🦊 const'],
    ['sentencepiece', 'root ::= " "? [a-zé]+ ( " " [a-z0-9]+ )* "."?', 'hello wörld'],
  ])('the mask is what each token says of itself, %s', (name, source, text) => {
    const tokens = tokenizerOf(name);
    const rules = parseGbnf(source);
    const all = finish(readVocabulary(tokens));
    const root = finish(openGrammar(rules, tokens, all, [1]));
    let at: Allowed | null = root;
    for (const id of [-1, ...tokens.encode(text, { addSpecial: false })]) {
      if (id >= 0) {
        if (!at.allows(id)) break;
        at = at.after(id)!;
      }
      // Asked token by token first, as decoding does.
      const each = byEach(at, tokens);
      expect(ofMask(at.mask(), tokens.vocabularySize)).toEqual(each);
      expect(each.length).toBeGreaterThan(0);
    }
  });

  test('special tokens say nothing, added ones what they spell, and ends come where the text may end', () => {
    const texts = ['a', 'b', '<|end|>', '<tool_call>', 'ab', 'a'];
    const made: TokenTexts = {
      vocabularySize: texts.length,
      tokenBytes: (id) => Buffer.from(texts[id]!),
      isText: (id) => id !== 2,
    };
    const all = finish(readVocabulary(made));
    const of = (source: string): number[] => byEach(finish(openGrammar(parseGbnf(source), made, all, [2])), made);
    expect(of('root ::= "<tool_call>" "a"')).toEqual([3]);
    expect(of('root ::= "<|end|>"')).toEqual([]);
    expect(of('root ::= "ab"*')).toEqual([0, 2, 4, 5]);
    const whole = finish(openGrammar(parseGbnf('root ::= "ab"'), made, all, [2]));
    expect(ofMask(whole.mask(), 6)).toEqual([0, 4, 5]);
    expect(whole.after(4)!.end).toBe('complete');
    expect(whole.after(1)!.end).toBe('given-up');
  });
});

function tokenizerOf(name: string): ReturnType<typeof loadTokenizer> {
  return name === 'byte-level' ? tokenizer : loadTokenizer(sentencePieceFile(folder));
}
