/** A screened head beside the exact one: the speed of a token at full depth, and on how many positions of text what they say differs. */
import path from 'node:path';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { Readout } from '../../../backend/runtime/staged-model.ts';
import { childDecoder } from '../contestants/decoder.ts';
import { ourChild } from '../contestants/our-process.ts';
import { englishText, typescriptText, type Text } from '../material.ts';
import { alternate, speedup } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, milliseconds, rate, type Findings, type Goal } from '../report.ts';
import { fitting, isBillions, merged, named, progress, type BenchOptions, type Section } from './section.ts';

export const headSection: Section = {
  title: 'The screened head',
  takes: 'two minutes a model for speed, and up to an hour for 100,000 positions of text',
  clocks: true,
  each: 'model',
  async run(options, file) {
    const [speed, recall] = [await measureSpeed(file, options), await measureRecall(file, options)];
    return {
      goals: [...speed.goals, ...recall.goals],
      tables: [...speed.tables, ...recall.tables],
      notes: [
        `Greedy decoding at full depth with ${options.threads} threads, precision \`fast\`; ${options.rounds} rounds. A sample is the next ${tokensInTurn} tokens after a prompt of TypeScript; each contestant has a process of its own.`,
        `Positions are those of windows of ${windowTokens} tokens, spread evenly over ${Object.values(texts())
          .map(({ origin }) => origin)
          .join(' and ')}. Off: the largest difference of a position, and the mean for confidence.`,
      ],
      measurements: speed.measurements,
    };
  },
};

const contexts = [64, 512];
const tokensInTurn = 32;

async function measureSpeed(
  file: string,
  { rounds, threads, clock, contexts: asked }: BenchOptions,
): Promise<Findings> {
  const model = openModel(file);
  const children = { exact: ourChild(clock), screened: ourChild(clock) };
  try {
    const tokenizer = loadTokenizer(file);
    const found: Findings[] = [];
    for (const [head, child] of Object.entries(children))
      await child.ask({ type: 'open', model: path.resolve(file), threads, exits: [], head });
    for (const context of fitting(asked.length ? asked : contexts, tokensInTurn, model)) {
      const prompt = promptOf(tokenizer, context, 0);
      const contestants = Object.entries(children).map(([name, child]) => ({
        name,
        async turn() {
          const decoder = childDecoder(child);
          await decoder.start([prompt]);
          return { [name]: await decoder.pull(tokensInTurn) };
        },
      }));
      const what = `${model.name}, heads, ${context} tokens of context`;
      const measured = await alternate(contestants, rounds, progress(what, rounds));
      const [exact, screened] = [measured.get('exact')!, measured.get('screened')!];
      const [limit, reach] = bounds(model);
      const goal: Goal = {
        what: `full depth with the screened head ÷ with the exact one, ${model.name}, ${context} tokens of context`,
        value: speedup(screened, exact).median,
        unit: '×',
        bound: 'at least',
        limit,
        reach,
      };
      found.push({
        goals: [goal],
        tables: [
          {
            caption: `${model.name}: next tokens by head`,
            columns: [
              'context',
              'screened ÷ exact',
              'screened, tokens/s',
              'exact, tokens/s',
              'screened, ms',
              'exact, ms',
            ],
            rows: [
              [
                `${context}`,
                both(speedup(screened, exact)),
                ...[screened, exact].map((one) => rate(one, tokensInTurn)),
                ...[screened, exact].map((one) => milliseconds(one, tokensInTurn)),
              ],
            ],
          },
        ],
        notes: [],
        measurements: named(`${model.name} ${context} head`, measured),
      });
    }
    return merged(found);
  } finally {
    for (const child of Object.values(children)) await child.end();
    model.close();
  }
}

/** What screening must bring: more, the more of a token's time the head takes. */
function bounds(model: Model): readonly [limit: number, reach: number] {
  if (isBillions(model)) return [1.07, 1.12];
  return model.spec.vocabulary > 100_000 ? [1.25, 1.37] : [1.12, 1.18];
}

const texts = (): Readonly<Record<string, Text>> => ({ TypeScript: typescriptText('train'), English: englishText() });

const windowTokens = 256;
const positionsOfText = 50_000;
const draftPositions = 256;

interface Off {
  positions: number;
  differing: number;
  confidence: number;
  meanConfidence: number;
  margin: number;
  entropy: number;
}

/** What the screened head says beside the exact head, of the same states. */
async function measureRecall(file: string, { threads, isDraft }: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  const staged = await openStagedModel(model, noExits, { arithmetic: 'int8', threads });
  try {
    const tokenizer = loadTokenizer(file);
    const found = new Map<string, Off>();
    for (const [kind, text] of Object.entries(texts())) {
      const off: Off = { positions: 0, differing: 0, confidence: 0, meanConfidence: 0, margin: 0, entropy: 0 };
      for (const ids of windowsOf(tokenizer, text, isDraft ? draftPositions : positionsOfText)) {
        const slots = staged.openSlots(1);
        slots.enter(0, ids);
        await slots.run(0, [ids.length]);
        const [screened] = await slots.read(0, [0], [ids.length], { logits: false });
        // Where logits are asked for, all is of the exact head.
        const [exact] = await slots.read(0, [0], [ids.length], { logits: true });
        slots.dispose();
        for (const [i, one] of screened!.readouts.entries()) count(off, one, exact!.readouts[i]!);
      }
      console.error(`  ${model.name}, ${kind}: ${off.differing} of ${off.positions} positions differ`);
      found.set(kind, off);
    }
    const all = [...found.values()];
    const sum = (of: 'positions' | 'differing'): number => all.reduce((total, off) => total + off[of], 0);
    const goal: Goal = {
      what: `positions of ${sum('positions')} where the screened head says another token, ${model.name}`,
      value: sum('differing'),
      unit: '',
      bound: 'at most',
      limit: 0,
      reach: 0,
    };
    return {
      goals: [goal],
      tables: [
        {
          caption: `${model.name}: the screened head beside the exact one`,
          columns: ['', 'positions', 'other tokens', 'confidence off', 'mean', 'margin off', 'entropy off, nats'],
          rows: [...found].map(([kind, off]) => [
            kind,
            `${off.positions}`,
            `${off.differing}`,
            off.confidence.toFixed(4),
            (off.meanConfidence / off.positions).toFixed(5),
            off.margin.toFixed(4),
            off.entropy.toFixed(3),
          ]),
        },
      ],
      notes: [],
      measurements: [],
    };
  } finally {
    await staged.dispose();
    model.close();
  }
}

function count(off: Off, one: Readout, exact: Readout): void {
  const between = (of: 'confidence' | 'margin' | 'entropy'): number => Math.abs(one[of] - exact[of]);
  off.positions++;
  if (one.token !== exact.token) off.differing++;
  off.confidence = Math.max(off.confidence, between('confidence'));
  off.meanConfidence += between('confidence');
  off.margin = Math.max(off.margin, between('margin'));
  off.entropy = Math.max(off.entropy, between('entropy'));
}

function windowsOf(tokenizer: Tokenizer, { documents }: Text, positions: number): number[][] {
  const ids = tokenizer.encode(documents.join('\n'), { addSpecial: false });
  const windows = Math.min(Math.ceil(positions / windowTokens), Math.floor(ids.length / windowTokens));
  const stride = Math.floor(ids.length / windows);
  return Array.from({ length: windows }, (_, i) => ids.slice(i * stride, i * stride + windowTokens));
}
