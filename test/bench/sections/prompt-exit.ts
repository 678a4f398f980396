/** Prompts that stop at an exit: how much sooner they are read, and what that costs of what is said behind them. */
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { stoppingAt } from '../../../backend/decoding/prompts/prompt-exit.ts';
import { promptRegret, regretsBehind } from '../../../backend/evaluation/calibration/prompts.ts';
import { mean } from '../../../backend/evaluation/tasks/statistics.ts';
import { openModel } from '../../../backend/model/open.ts';
import { readExits } from '../../../backend/recipes/opening/opened.ts';
import { openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { typescriptText } from '../material.ts';
import { alternate, ratioOfTotals, timed, type Contestant } from '../measure.ts';
import { manyPrompts, promptOf } from '../prompts.ts';
import { figures, type Findings, type Goal } from '../report.ts';
import { tunedOnTypescript } from '../tuned.ts';
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
        `Prompts of ${promptTokens} tokens of TypeScript (${typescriptText('heldout').origin}), read in pieces of ${pieceTokens}, precision \`fast\`, ${options.threads} threads; all ways read each prompt side by side, a piece each in turn. All tokens but the first 64 and the last third stop at the layer.`,
        `Regret: what the tokens that the full model would say behind such a prompt cost under the full model with the whole prompt, in nats a token; over ${windows} prompts and the ${following} tokens of text that follow each. Equal: of those, how many are the same.`,
      ],
    };
  },
};

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  const tokenizer = loadTokenizer(file);
  const exits = await readExits(options.exits ?? (await tunedOnTypescript(model, options.threads)), {
    model,
    tokenizer,
  });
  const staged = await openStagedModel(model, exits, { arithmetic: 'int8', threads: options.threads });
  try {
    const layers = [...new Set(staged.exits.filter(({ remembers }) => remembers).map(({ layer }) => layer))];
    if (layers.length === 0) return { goals: [], tables: [], notes: [], measurements: [] };
    const [tokens] = fitting([promptTokens], following, model) as [number];
    const prompts = Array.from({ length: options.rounds + 1 }, (_, n) => promptOf(tokenizer, tokens, n));
    const readers = sideBySide(staged, prompts, [null, ...layers]);
    const measured = await alternate([readers], options.rounds, progress(`${model.name}, prompts`, options.rounds));
    const regrets = await regretsOf(
      staged,
      manyPrompts(tokenizer, options.isDraft ? 3 : windows, tokens + following),
      layers,
    );
    const whole = measured.get(nameOf(null))!;
    const rows: string[][] = [];
    const goals: Goal[] = [];
    let fastest = 1;
    for (const layer of [null, ...layers]) {
      const one = measured.get(nameOf(layer))!;
      const speedup = ratioOfTotals(whole, one);
      const lost = layer === null ? [0] : regrets.get(layer)!;
      const [regret, equal] = [mean(lost), lost.filter((each) => each === 0).length / lost.length];
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

/** One who reads the next prompt at each turn in all ways side by side, a piece each, since a machine's speed drifts. */
function sideBySide(
  staged: StagedModel,
  prompts: readonly (readonly number[])[],
  layers: readonly (number | null)[],
): Contestant {
  let at = 0;
  const turn = async (): Promise<Record<string, number>> => {
    const prompt = prompts[at++]!;
    const ways = layers.map((layer) => ({
      name: nameOf(layer),
      cache: openKvCache(staged, 1),
      options: { lastOnly: true, stopping: stoppingAt(staged, layer, prompt.length) },
      seconds: 0,
    }));
    for (const { cache } of ways) cache.enter(0, prompt);
    for (let read = 0; read < prompt.length; read += pieceTokens) {
      const end = Math.min(prompt.length, read + pieceTokens);
      for (const way of ways) way.seconds += await timed(() => way.cache.runThrough(0, [], end, way.options));
      // Another one is first with the next piece.
      ways.push(ways.shift()!);
    }
    for (const { cache } of ways) cache.dispose();
    return Object.fromEntries(ways.map(({ name, seconds }) => [name, seconds]));
  };
  return { name: 'all ways', turn };
}

/** Of each layer, what each token behind these texts' prompts costs. */
async function regretsOf(
  staged: StagedModel,
  texts: readonly (readonly number[])[],
  layers: readonly number[],
): Promise<Map<number, number[]>> {
  const all = new Map(layers.map((layer) => [layer, [] as number[]]));
  for (const ids of texts)
    for await (const { layer, regrets } of regretsBehind(staged, ids, following, layers))
      all.get(layer)!.push(...regrets);
  return all;
}
