/**
 * Whether `lossless` is: many texts of every way of drafting and size of batch beside those of full depth, token for token.
 * The same process writes them all, so its memory says whether decoding keeps anything.
 */
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import type { DraftOptions } from '../../../backend/decoding/block.ts';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import { openKvCache } from '../../../backend/decoding/cache/kv-cache.ts';
import { openModel } from '../../../backend/model/open.ts';
import { readExits } from '../../../backend/recipes/opening/opened.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import type { StagedModel } from '../../../backend/runtime/staged-model.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { writeTexts } from '../contestants/ours.ts';
import { typescriptText } from '../material.ts';
import { manyPrompts } from '../prompts.ts';
import { figures, type Findings, type Goal, type Table } from '../report.ts';
import { tunedOnTypescript } from '../tuned.ts';
import type { BenchOptions, Section } from './section.ts';

const promptTokens = 32;
const newTokens = 128;
/** The widest first: it fills caches and arenas, so that what grows later is kept by decoding. */
const batches = [16, 4, 1];
const draftLimit = parseOptions('generate', {}).drafts;

const drafting: Readonly<Record<string, DraftOptions | null>> = {
  'drafts of the text and the exits': { ...textDrafts(draftLimit), exits: () => true },
  'drafts of the text': textDrafts(draftLimit),
  'no drafts': null,
};

export const losslessSection: Section = {
  title: 'Lossless, token for token',
  takes: 'about twenty minutes for SmolLM2 and the model that ships, and ten more to tune where no exits are there',
  each: 'model',
  async run(options, file) {
    return {
      ...(await measureModel(file, options)),
      notes: [
        `Prompts of ${promptTokens} tokens from all over TypeScript (${typescriptText('heldout').origin}), ${newTokens} greedy tokens each, precision \`fast\`, ${options.threads} threads. The texts of full depth, one at a time and without drafts, are the reference.`,
        'Margin: where a text first differs, the difference between the logits of the two tokens in the full model, a token a pass.',
        'Resident memory is read after each way, in this order; the first and widest fills caches and arenas.',
      ],
    };
  },
};

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const { threads, isDraft } = options;
  const model = openModel(file);
  const tokenizer = loadTokenizer(file);
  const arithmetic = 'int8';
  const plain = await openStagedModel(model, noExits, { arithmetic, threads });
  const exits = await readExits(options.exits ?? (await tunedOnTypescript(model, options.threads)), {
    model,
    tokenizer,
  });
  const staged = await openStagedModel(model, exits, { arithmetic, threads });
  try {
    const prompts = manyPrompts(tokenizer, isDraft ? 16 : 200, promptTokens);
    const write = (batch: number, drafts: DraftOptions | null): Promise<number[][]> =>
      writeTexts(drafts === null ? plain : staged, tokenizer, prompts, { batch, newTokens, drafts });
    const reference = await write(1, null);
    const rows: string[][] = [];
    const sizes: number[] = [];
    let [texts, differing, widest] = [0, 0, 0];
    for (const [name, drafts] of Object.entries(drafting)) {
      for (const batch of batches) {
        if (drafts === null && batch === 1) continue;
        const written = await write(batch, drafts);
        const margins: number[] = [];
        for (const [i, ids] of written.entries()) {
          const at = ids.findIndex((id, n) => id !== reference[i]![n]);
          if (at < 0) continue;
          const before = [...prompts[i]!, ...ids.slice(0, at)];
          margins.push(await marginBetween(plain, before, reference[i]![at]!, ids[at]!));
        }
        console.error(`  ${model.name}: ${name}, batches of ${batch}: ${margins.length} of ${written.length} differ`);
        sizes.push(process.memoryUsage().rss);
        texts += written.length;
        differing += margins.length;
        widest = Math.max(widest, ...margins);
        rows.push([
          name,
          `${batch}`,
          `${margins.length} of ${written.length}`,
          margins.length ? Math.max(...margins).toExponential(1) : '',
          figures(sizes.at(-1)! / 1e6),
        ]);
      }
    }
    const goals: Goal[] = [
      {
        what: `texts that differ from full depth, of ${texts}, ${model.name}`,
        value: differing,
        unit: '',
        bound: 'at most',
        limit: 0,
      },
      {
        what: `memory after ${(sizes.length - 1) * prompts.length * newTokens} more tokens ÷ after the first way, ${model.name}`,
        value: sizes.at(-1)! / sizes[0]!,
        unit: '×',
        bound: 'at most',
        limit: 1.1,
      },
    ];
    const table: Table = {
      caption: `${model.name}: ${prompts.length} texts of ${newTokens} tokens`,
      columns: ['', 'batch', 'texts that differ', 'widest margin', 'resident, MB'],
      rows,
    };
    return { goals, tables: [table], notes: [], measurements: [] };
  } finally {
    await staged.dispose();
    await plain.dispose();
    model.close();
  }
}

/** How much larger the logit of `one` is than that of `other` after the text, read a token a pass. */
async function marginBetween(model: StagedModel, text: readonly number[], one: number, other: number): Promise<number> {
  const cache = openKvCache(model, 1);
  for (const id of text) {
    cache.enter(0, [id]);
    await cache.advance(model.stages.length, [0]);
  }
  const [said] = await cache.read(model.exits.length - 1, [0], [1], { logits: true });
  return Math.abs(said!.logits![one]! - said!.logits![other]!);
}
