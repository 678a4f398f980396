/** What a pass of several tokens costs beside a pass of one, and a model in three stages beside one in a single stage. */
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import type { Child } from '../contestants/child.ts';
import { ourChild } from '../contestants/our-process.ts';
import { alternate, type Measurement } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { figures, milliseconds, type Findings, type Goal } from '../report.ts';
import { fitting, isBillions, merged, named, progress, type BenchOptions, type Section } from './section.ts';

export const passesSection: Section = {
  title: 'Passes and stages',
  takes: 'about a minute a model',
  clocks: true,
  each: 'model',
  run: async (options, file) => ({
    ...(await measureModel(file, options)),
    notes: [
      `Precision \`fast\`, ${options.threads} threads, ${options.rounds} rounds. A pass goes through all layers and the final exit, whose reading of the last token (passes) is part of it.`,
      `Three stages: the model cut at a third and at two thirds of its layers, where no exit is asked. A sample is ${passesInTurn} passes.`,
    ],
  }),
};

const sizes = [1, 2, 4, 8, 16];
const goals: Readonly<Record<number, readonly [limit: number, reach: number]>> = {
  2: [1.3, 1.15],
  4: [1.5, 1.35],
  8: [2, 1.8],
};
const contexts = [64, 512];
const passesInTurn = 8;

/** Lets weights, keys and values be laid out in large pages, which happens in a process's pauses. */
async function settle(child: Child): Promise<void> {
  await child.ask({ type: 'pass', tokens: 1 });
  await setTimeout(4000);
}

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const { rounds, threads, clock } = options;
  const model = openModel(file);
  const [one, three] = [ourChild(clock), ourChild(clock)];
  try {
    const tokenizer = loadTokenizer(file);
    const layers = model.spec.layers.length;
    const thirds = [Math.round(layers / 3), Math.round((2 * layers) / 3)];
    await one.ask({ type: 'open', model: path.resolve(file), threads, exits: [] });
    await three.ask({ type: 'open', model: path.resolve(file), threads, exits: thirds });
    const found: Findings[] = [];
    for (const context of fitting(options.contexts.length ? options.contexts : contexts, Math.max(...sizes), model)) {
      const ids = promptOf(tokenizer, context, 0);
      for (const child of [one, three]) {
        await child.ask({ type: 'fill', ids });
        await settle(child);
      }
      const contestant = (name: string, child: Child, tokens: number) => ({
        name,
        async turn() {
          let seconds = 0;
          for (let i = 0; i < passesInTurn; i++) seconds += await child.ask({ type: 'pass', tokens });
          return { [name]: seconds };
        },
      });
      const what = `${model.name}, passes at ${context}`;
      const measured = await alternate(
        [...sizes.map((tokens) => contestant(`pass of ${tokens}`, one, tokens)), contestant('three stages', three, 1)],
        rounds,
        progress(what, rounds),
      );
      const alone = measured.get('pass of 1')!;
      const ratio = ({ median }: Measurement): number => median / alone.median;
      const isHeld = isBillions(model) && context === contexts[0];
      found.push({
        goals: [
          ...(isHeld
            ? Object.entries(goals).map(([tokens, [limit, reach]]): Goal => ({
                what: `a pass of ${tokens} ÷ a pass of one, ${model.name}, ${context} tokens of context`,
                value: ratio(measured.get(`pass of ${tokens}`)!),
                unit: '×',
                bound: 'at most',
                limit,
                reach,
              }))
            : []),
          {
            what: `three stages ÷ one, ${model.name}, ${context} tokens of context`,
            value: ratio(measured.get('three stages')!),
            unit: '×',
            bound: 'at most',
            limit: 1.05,
            reach: 1.02,
          },
        ],
        tables: [
          {
            caption: `${model.name}: at ${context} tokens of context`,
            columns: ['', 'ms', '÷ pass of one'],
            rows: [...measured.values()].map((each) => [
              each.name,
              milliseconds(each, passesInTurn),
              figures(ratio(each)),
            ]),
          },
        ],
        notes: [],
        measurements: named(`${model.name} ${context}`, measured),
      });
    }
    return merged(found);
  } finally {
    await one.end();
    await three.end();
    model.close();
  }
}
