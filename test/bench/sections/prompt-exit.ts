/** Prompts that stop at an exit: how much sooner they are read, and what that costs of what is said behind them. */
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { promptRegret, regretsBehind } from '../../../backend/evaluation/prompts.ts';
import { mean } from '../../../backend/evaluation/tasks/statistics.ts';
import { openModel } from '../../../backend/model/open.ts';
import { readExits } from '../../../backend/recipes/opened.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { endlessRequest } from '../contestants/ours.ts';
import { typescriptText } from '../material.ts';
import { alternate, type Contestant, type Measurement } from '../measure.ts';
import { manyPrompts, promptOf } from '../prompts.ts';
import { figures, type Findings, type Goal } from '../report.ts';
import { tunedExits } from './exits.ts';
import { fitting, progress, type BenchOptions, type Section } from './section.ts';

const promptTokens = 1000;
const following = 128;
const windows = 8;
const pieceTokens = 128;

export const promptExitSection: Section = {
  title: 'Prompts that stop at an exit',
  takes: 'about two minutes a model, and ten more to tune where no exits are there',
  each: 'model',
  async run(options, file) {
    return {
      ...(await measureModel(file, options)),
      notes: [
        `Prompts of ${promptTokens} tokens of TypeScript (${typescriptText('heldout').origin}), read in pieces of ${pieceTokens}, precision \`fast\`, ${options.threads} threads; each way reads each prompt in turn. All tokens but the first 64 and the last third stop at the layer.`,
        `Regret: what the tokens that the full model would say behind such a prompt cost under the full model with the whole prompt, in nats a token; over ${windows} prompts and the ${following} tokens of text that follow each. Equal: of those, how many are the same.`,
      ],
    };
  },
};

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  const tokenizer = loadTokenizer(file);
  const exits = await readExits(options.exits ?? (await tunedExits(file, model)), { model, tokenizer });
  const staged = await openStagedModel(model, exits, { arithmetic: 'int8', threads: options.threads });
  try {
    const layers = [...new Set(staged.exits.filter(({ remembers }) => remembers).map(({ layer }) => layer))];
    if (layers.length === 0) return { goals: [], tables: [], notes: [], measurements: [] };
    const [tokens] = fitting([promptTokens], following, model) as [number];
    const prompts = Array.from({ length: options.rounds + 1 }, (_, n) => promptOf(tokenizer, tokens, n));
    const contestants = [null, ...layers].map((layer) => reader(staged, tokenizer, prompts, layer));
    const measured = await alternate(contestants, options.rounds, progress(`${model.name}, prompts`, options.rounds));
    const whole = measured.get(nameOf(null))!;
    const rows: string[][] = [];
    const goals: Goal[] = [];
    let fastest = 1;
    for (const layer of [null, ...layers]) {
      const one = measured.get(nameOf(layer))!;
      const speedup = total(whole) / total(one);
      const { regret, equal } = await costOf(staged, tokenizer, tokens, options.isDraft ? 3 : windows, layer);
      if (regret <= promptRegret) fastest = Math.max(fastest, speedup);
      const share = `${(100 * equal).toFixed(1)} %`;
      rows.push([nameOf(layer), figures(speedup), figures(1000 * one.median), regret.toFixed(4), share]);
    }
    goals.push({
      what: `a prompt of ${tokens} tokens that stops where what follows loses at most ${promptRegret} nats ÷ the whole, ${model.name}`,
      value: fastest,
      unit: '×',
      bound: 'at least',
      limit: 1.2,
      reach: 1.4,
    });
    return {
      goals,
      tables: [
        {
          caption: `${model.name}: a prompt of ${tokens} tokens`,
          columns: ['stops at', '÷ whole', 'ms', 'regret', 'equal'],
          rows,
        },
      ],
      notes: [],
      measurements: [...measured.values()].map((one) => ({ ...one, name: `${model.name}: ${one.name}` })),
    };
  } finally {
    await staged.dispose();
    model.close();
  }
}

const nameOf = (layer: number | null): string => (layer === null ? 'nowhere' : `layer ${layer}`);

/** One who reads the next prompt at each turn, in one session that lasts. */
function reader(
  staged: StagedModel,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  layer: number | null,
): Contestant {
  const session = openSession(staged, { rows: 1, positions: 0, pieceTokens });
  let at = 0;
  const turn = async (): Promise<Record<string, number>> => {
    const request = { ...endlessRequest(tokenizer, []), maxTokens: 0, promptExit: layer };
    const text = { ...request, prompt: prompts[at++]!, number: 0, scores: null };
    let seconds = 0;
    for await (const event of session.write([text])) if (event.type === 'prompt') seconds = event.seconds;
    return { [nameOf(layer)]: seconds };
  };
  return { name: nameOf(layer), turn };
}

async function costOf(
  staged: StagedModel,
  tokenizer: Tokenizer,
  tokens: number,
  count: number,
  layer: number | null,
): Promise<{ regret: number; equal: number }> {
  const regrets: number[] = [];
  for (const ids of manyPrompts(tokenizer, count, tokens + following)) {
    for await (const behind of regretsBehind(staged, ids, following, [layer])) regrets.push(...behind.regrets);
  }
  return { regret: mean(regrets), equal: regrets.filter((regret) => regret === 0).length / regrets.length };
}

const total = ({ samples }: Measurement): number => samples.reduce((sum, seconds) => sum + seconds, 0);
