/**
 * Filling in the middle: lines are taken out of TypeScript, and the model says what stood there; how often it says the very line, at
 * full depth, lossless, with calibrated exits if there are any, and in llama.cpp on the same tokens.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { gapPrompt, withoutHealing } from '../../../backend/data/prompts/gap-prompt.ts';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import { decode, type DecodeRequest } from '../../../backend/decoding/decode.ts';
import { openSession, type Session } from '../../../backend/decoding/session.ts';
import { usedExits } from '../../../backend/checkpoint/calibration.ts';
import { leavingBy } from '../../../backend/evaluation/calibration/trial.ts';
import { keptBy } from '../kept.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { readExits } from '../../../backend/recipes/opening/opened.ts';
import { noExits, onlyExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { shownPromise } from '../../../protocol/options/promise.ts';
import { installLlama, llamaChild, llamaVersion } from '../contestants/llama.ts';
import { endlessRequest } from '../contestants/ours.ts';
import { cutHoles, hitShare, type Hole } from '../holes.ts';
import { benchCache, typescriptText } from '../material.ts';
import { figures, type Findings, type Goal } from '../report.ts';
import type { BenchOptions, Section } from './section.ts';

const holeCount = 200;
/** More than the longest line that is taken out. */
const newTokens = 48;
const limits = { prefixTokens: 192, suffixTokens: 64, chunkTokens: 0, maxTokens: newTokens };
const contextTokens = 1024;
/** Of all holes, by how many percent two ways may differ and count as equal: four holes. */
const noise = 2;

const fullDepth = 'full depth';
const lossless = 'lossless';
const llamaName = 'llama.cpp';

export const holesSection: Section = {
  title: 'Filling in the middle',
  takes:
    'about a quarter of an hour for Qwen2.5-Coder-0.5B, of models that were taught to fill; goes on where it was stopped',
  each: 'model',
  async run(options, file) {
    const tokenizer = loadTokenizer(file);
    if (tokenizer.fim === null) return { goals: [], tables: [], notes: [], measurements: [] };
    const { documents, origin } = typescriptText('heldout');
    const holes = cutHoles(documents, options.isDraft ? 4 * options.rounds : holeCount);
    const model = openModel(file);
    try {
      return {
        ...(await measure(model, tokenizer, holes, options)),
        notes: [
          `Lines taken out of TypeScript (${origin}): no comments, no imports, from 10 to 100 characters. The prompt is that of completions, of ${limits.prefixTokens} tokens before and ${limits.suffixTokens} behind at most; greedy, up to the end of the line. A hit is the very line, blanks around it aside.`,
          `llama.cpp is node-llama-cpp ${llamaVersion} on the same tokens. Up to ${noise} % of the holes more or fewer count as equal.`,
        ],
      };
    } finally {
      model.close();
    }
  },
};

/** Says the line of a prompt, as ids; what ends the line may be among them. */
interface Way {
  readonly name: string;
  write(prompt: readonly number[]): Promise<{ readonly ids: readonly number[]; readonly layers: number }>;
}

async function measure(model: Model, tokenizer: Tokenizer, holes: readonly Hole[], options: BenchOptions) {
  const closing: (() => Promise<void>)[] = [];
  const directory = options.exits ?? path.join(benchCache, 'exits', `${model.name}.exits`);
  const answered = openAnswers(model.name, [holes, path.resolve(directory), options.threads]);
  try {
    const ways = await openWays(model, tokenizer, directory, options.threads, closing);
    const answers = answered.known();
    for (let i = answers.length; i < holes.length; i++) {
      // llama.cpp has no token healing, so no way has.
      const prompt = gapPrompt(withoutHealing(tokenizer), holes[i]!, limits, contextTokens).ids;
      const answer: Answer = {};
      for (const way of ways) {
        const { ids, layers } = await way.write(prompt);
        answer[way.name] = { line: tokenizer.decode(ids).split('\n', 1)[0]!, layers };
      }
      answers.push(answer);
      answered.add(answer);
      if (i % 10 === 9) console.error(`  ${model.name}: ${i + 1} of ${holes.length} holes`);
    }
    answered.forget();
    return findings(model, holes, answers);
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** What each way said in one hole. */
type Answer = Record<string, { readonly line: string; readonly layers: number }>;

/** Answers that are kept until there are all, so that a run that was stopped goes on: of this commit and what was `asked` alone. */
function openAnswers(model: string, asked: readonly unknown[]) {
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).trim();
  const key = createHash('sha256')
    .update(JSON.stringify([commit, ...asked]))
    .digest('hex');
  const folder = path.join(benchCache, 'holes');
  const file = path.join(folder, `${model}-${key.slice(0, 12)}.jsonl`);
  mkdirSync(folder, { recursive: true });
  return {
    known: (): Answer[] =>
      existsSync(file)
        ? readFileSync(file, 'utf8')
            .split('\n')
            .filter(Boolean)
            .map((line) => JSON.parse(line) as Answer)
        : [],
    add: (answer: Answer): void => appendFileSync(file, `${JSON.stringify(answer)}\n`),
    forget: (): void => rmSync(file, { force: true }),
  };
}

async function openWays(
  model: Model,
  tokenizer: Tokenizer,
  directory: string,
  threads: number,
  closing: (() => Promise<void>)[],
): Promise<Way[]> {
  const drafts = textDrafts(parseOptions('generate', {}).drafts);
  const read = existsSync(path.join(directory, 'exits.json')) ? await readExits(directory, { model, tokenizer }) : null;
  const calibration = read?.calibration ?? null;
  const kept = read && calibration ? onlyExits(read, (exit) => usedExits(calibration).includes(exit)) : noExits;
  const staged = await openStagedModel(model, kept, { arithmetic: 'int8', threads });
  closing.push(() => staged.dispose());
  const way = (name: string, different: Partial<DecodeRequest>): Way => {
    // Each reads the prompt by itself: what goes on from another's cache has its last token read alone, which rounds otherwise.
    const session = openSession(staged);
    return { name, write: (prompt) => writeLine(session, tokenizer, { prompts: [prompt], ...different }) };
  };
  const ways = [way(fullDepth, {}), way(lossless, { drafts })];
  if (calibration) {
    ways.push(
      way(`fast, calibrated for ${shownPromise(calibration.promise)}`, {
        ...leavingBy(keptBy(calibration)),
        drafts,
      }),
    );
  }
  if (model.path.endsWith('.gguf') && (await installLlama())) {
    const child = await llamaChild('wall');
    closing.push(() => child.end());
    await child.ask({ type: 'open', model: model.path, threads, contextSize: contextTokens });
    const ends = [...tokenizer.eosIds, ...tokenizer.fim!.ends];
    ways.push({
      name: llamaName,
      write: async (prompt) => ({
        ids: await child.ask<number[]>({ type: 'line', ids: prompt, most: newTokens, ends }),
        layers: model.spec.layers.length,
      }),
    });
  }
  return ways;
}

async function writeLine(
  session: Session,
  tokenizer: Tokenizer,
  different: Partial<DecodeRequest> & Pick<DecodeRequest, 'prompts'>,
): Promise<{ ids: number[]; layers: number }> {
  const request: DecodeRequest = {
    ...endlessRequest(tokenizer, different.prompts),
    maxTokens: newTokens,
    stopStrings: ['\n'],
    endOfText: [...tokenizer.eosIds, ...tokenizer.fim!.ends],
    ...different,
  };
  const ids: number[] = [];
  let layers = 0;
  for await (const event of decode(session, request)) {
    if (event.type !== 'token') continue;
    ids.push(event.token.id);
    layers += event.token.layer;
  }
  return { ids, layers: layers / Math.max(1, ids.length) };
}

function findings({ name, spec }: Model, holes: readonly Hole[], answers: readonly Answer[]): Findings {
  const ways = Object.keys(answers[0]!);
  const lines = (way: string): string[] => answers.map((answer) => answer[way]!.line);
  const share = (way: string): number => 100 * hitShare(holes, lines(way));
  const same = (way: string): number =>
    answers.filter((answer) => answer[way]!.line === answer[fullDepth]!.line).length;
  const meanLayer = (way: string): number => {
    const layers = answers.map((answer) => answer[way]!.layers).filter((layer) => layer > 0);
    return layers.reduce((sum, layer) => sum + layer, 0) / layers.length;
  };
  const beside: Goal[] = ways.includes(llamaName)
    ? [
        {
          what: `holes that are hit, difference between full depth and llama.cpp, ${name}`,
          value: Math.abs(share(fullDepth) - share(llamaName)),
          unit: ' %',
          bound: 'at most',
          limit: noise,
        },
      ]
    : [];
  return {
    goals: [
      ...beside,
      {
        what: `lines of ${holes.length} that lossless says otherwise than full depth, ${name}`,
        value: holes.length - same(lossless),
        unit: '',
        bound: 'at most',
        limit: 0,
      },
    ],
    tables: [
      {
        caption: `${name}: ${holes.length} holes of a line`,
        columns: ['', 'hit, %', 'the line of full depth', 'mean layer'],
        rows: ways.map((way) => [
          way,
          figures(share(way)),
          `${same(way)} of ${holes.length}`,
          `${figures(meanLayer(way))} of ${spec.layers.length}`,
        ]),
      },
    ],
    notes: [],
    measurements: [],
  };
}
