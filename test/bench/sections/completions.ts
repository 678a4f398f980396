/**
 * What one waits for a suggestion: the built language server as an editor asks it, its default limits, and a text that is typed on
 * from round to round; beside it llama.cpp, which keeps its prompt as well and says as many tokens.
 */
import path from 'node:path';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { gapPrompt } from '../../../backend/data/prompts/gap-prompt.ts';
import type { CompletionLimits, CompletionResult, Gap } from '../../../protocol/completion.ts';
import { completionOptions } from '../../../protocol/options/completions.ts';
import type { OptionValues } from '../../../protocol/options/options.ts';
import { complete } from '../../../protocol/server.ts';
import { build } from '../children.ts';
import { startLanguageServer, type LanguageServer } from '../contestants/language-server.ts';
import { installLlama, llamaChild, llamaVersion } from '../contestants/llama.ts';
import type { Child } from '../contestants/child.ts';
import { typescriptText } from '../material.ts';
import { alternate, timed, type Measurements } from '../measure.ts';
import { milliseconds, type Findings, type Goal } from '../report.ts';
import { fitting, progress, type BenchOptions, type Section } from './section.ts';

const contextTokens = 1000;
const suffixTokens = 128;
/** What is typed between two requests. */
export const typedTokens = 10;
const fullContext = 2048;

const byDefault = Object.fromEntries(
  Object.entries(completionOptions).map(([name, option]) => [name, option.default]),
) as OptionValues<typeof completionOptions>;
const { prefixTokens, maxTokens, maxMilliseconds, debounceMilliseconds } = byDefault;
export const limits: CompletionLimits = {
  prefixTokens,
  suffixTokens: byDefault.suffixTokens,
  chunkTokens: byDefault.chunkTokens,
  maxTokens,
  maxMilliseconds,
  suggestions: 1,
};

export const completionsSection: Section = {
  title: 'Completions',
  takes: 'about a minute a model',
  each: 'model',
  async run(options, file) {
    build();
    const tokenizer = loadTokenizer(file);
    const { documents, origin } = typescriptText('heldout');
    const model = openModel(file);
    const [context] = fitting([contextTokens], maxTokens + 5 * typedTokens * (options.rounds + 1), model) as [number];
    model.close();
    const gaps = typing(tokenizer, documents, context, 2 * (options.rounds + 1));
    const server = await startLanguageServer();
    const llama = (await installLlama()) ? await llamaChild('wall') : null;
    try {
      await llama?.ask({ type: 'open', model: file, threads: options.threads, contextSize: fullContext });
      const measured = await measure(server, llama, tokenizer, gaps, options, file);
      return findings(path.basename(file), context, measured, origin, llama !== null);
    } finally {
      await server.dispose();
      await llama?.end();
    }
  },
};

/** The same place, with some more typed each time; what stands behind stays. */
export function typing(tokenizer: Tokenizer, documents: readonly string[], context: number, count: number): Gap[] {
  const room = context - suffixTokens;
  const typed = count * 2 * typedTokens;
  for (const text of documents) {
    const ids = tokenizer.encode(text, { addSpecial: false });
    if (ids.length < room + typed + suffixTokens) continue;
    const suffix = `\n${tokenizer.decode(ids.slice(room + typed, room + typed + suffixTokens))}`;
    const gaps: Gap[] = [];
    for (let end = room; end < room + typed && gaps.length < count; end++) {
      const prefix = tokenizer.decode(ids.slice(0, end));
      // Behind a sign, so that the prompt is all of it, and llama.cpp is given the same.
      if (!/[^\w\s]$/.test(prefix)) continue;
      gaps.push({ prefix, suffix, repository: 'bench', file: 'src/text.ts', chunks: [] });
      end += typedTokens - 1;
    }
    if (gaps.length === count) return gaps;
  }
  throw new Error('no document is long enough');
}

async function measure(
  server: LanguageServer,
  llama: Child | null,
  tokenizer: Tokenizer,
  gaps: readonly Gap[],
  { rounds, threads }: BenchOptions,
  model: string,
): Promise<Measurements> {
  const options = { model, device: 'cpu', threads };
  const ask = async (gap: Gap, maxMilliseconds: number): Promise<{ seconds: number; tokens: number }> => {
    let tokens = 0;
    const seconds = await timed(async () => {
      const params = { gap, limits: { ...limits, maxMilliseconds }, options };
      const result = await server.request<CompletionResult>(complete.method, params);
      tokens = result.suggestions[0]?.tokens.length ?? 0;
    });
    return { seconds, tokens };
  };
  const askLlama = (gap: Gap, count: number): Promise<number> => {
    const { ids } = gapPrompt(tokenizer, gap, limits, fullContext);
    return llama!.ask({ type: 'goOn', ids, count: Math.max(1, count) });
  };
  let at = 0;
  const turn = async (): Promise<Record<string, number>> => {
    const found: Record<string, number> = {};
    for (const what of [firstWord, suggestion]) {
      const gap = gaps[at++]!;
      const wait = what === firstWord ? 0 : maxMilliseconds;
      const typed = await ask(gap, wait);
      const same = await ask(gap, wait);
      Object.assign(found, { [what]: typed.seconds, [again(what)]: same.seconds, [tokensOf(what)]: typed.tokens });
      if (llama === null) continue;
      found[byLlama(what)] = await askLlama(gap, typed.tokens);
      found[byLlama(again(what))] = await askLlama(gap, same.tokens);
    }
    return found;
  };
  return alternate([{ name: 'typing', turn }], rounds, progress(`${path.basename(model)}, completions`, rounds));
}

/** What is waited for: all that is shown, or as little as could be. */
const suggestion = 'suggestion';
const firstWord = 'first word';
const again = (what: string): string => `${what}, nothing typed`;
const byLlama = (what: string): string => `llama.cpp: ${what}`;
const tokensOf = (what: string): string => `tokens of ${what}`;

function findings(name: string, context: number, measured: Measurements, origin: string, hasLlama: boolean): Findings {
  const median = (what: string): number => measured.get(what)!.median;
  const goal = (what: string, value: number, unit: string, limit: number): Goal => {
    return { what: `${what}, ${name}`, value, unit, bound: 'at most', limit };
  };
  const goals = [
    goal(suggestion, 1000 * median(suggestion), ' ms', 400),
    goal(
      `${firstWord}, nothing typed ÷ ${typedTokens} tokens typed`,
      median(again(firstWord)) / median(firstWord),
      '×',
      0.6,
    ),
    ...(hasLlama
      ? [suggestion, firstWord].map((what) =>
          goal(`${what} ÷ llama.cpp's`, median(what) / median(byLlama(what)), '×', 0.8),
        )
      : []),
  ];
  const timings = [...measured.values()].filter((each) => !each.name.startsWith(tokensOf('')));
  return {
    goals,
    tables: [
      {
        caption: `${name}: milliseconds from the request to the suggestion, ${context} tokens around the cursor`,
        columns: ['', 'ms'],
        rows: timings.map((each) => [each.name, milliseconds(each)]),
      },
    ],
    notes: [
      `TypeScript (${origin}) is typed on; the settings of completions are the defaults, so a suggestion is shown after ${maxMilliseconds} ms with what is there. Suggestions had ${median(tokensOf(suggestion))} tokens, first words ${median(tokensOf(firstWord))} (medians); ${typedTokens} tokens were typed before each, or none. The editor's own pause before it asks (${debounceMilliseconds} ms by default) is not in it.`,
      ...(hasLlama
        ? [
            `llama.cpp is node-llama-cpp ${llamaVersion}: the same prompt, of which it keeps what has not changed, and as many tokens, in the same turn.`,
          ]
        : []),
    ],
    measurements: timings.map((each) => ({ ...each, name: `${name} completions: ${each.name}` })),
  };
}
