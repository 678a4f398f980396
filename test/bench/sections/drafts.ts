/**
 * Whether drafts of the text pay, and never cost: `lossless` beside full depth on kinds of text of which some repeat themselves and some
 * do not, in turn, and how many drafts were right.
 */
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { textDrafts } from '../../../backend/decoding/drafts/draft.ts';
import { openSession } from '../../../backend/decoding/session.ts';
import { openModel } from '../../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../../backend/runtime/open.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { chatPrompt } from '../chats.ts';
import { sideBySide, type Writer } from '../contestants/side-by-side.ts';
import { englishText, typescriptText } from '../material.ts';
import { alternate, ratioOfTotals, total, type Measurement } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { figures, type Findings, type Goal } from '../report.ts';
import { progress, type BenchOptions, type Section } from './section.ts';

const newTokens = 128;
const draftLimit = parseOptions('generate', {}).drafts;
/** A mode that changes no text may cost so much of the speed of full depth where it brings nothing. */
const mostLost = 0.02;

export const draftsSection: Section = {
  title: 'Drafts of the text',
  takes: 'about two minutes a model',
  each: 'model',
  async run(options, file) {
    return {
      ...(await measureModel(file, options)),
      notes: [
        `${newTokens} greedy tokens after each prompt, precision \`fast\`, ${options.threads} threads, at most ${draftLimit} drafts at a time; the prompt's own pass is not counted. Full depth and \`lossless\` write each text side by side, a pass each in turn, with sessions that last.`,
        `Code: 128 tokens of TypeScript (${typescriptText('heldout').origin}). Chat: a story is asked for in which something happens (${englishText().origin}). Repetitive: 160 tokens of code, and its first 32 again.`,
        'Tokens a pass: of `lossless`; right drafts: of those that were taken into a pass.',
      ],
    };
  },
};

/** Prompts of the kinds of text, the nth of each. */
const kinds: Readonly<Record<string, (tokenizer: Tokenizer, n: number) => Promise<readonly number[]>>> = {
  code: (tokenizer, n) => Promise.resolve(promptOf(tokenizer, 128, n)),
  async chat(tokenizer, n) {
    const { documents } = englishText();
    const [question] = documents[(7 * n) % documents.length]!.split('\n');
    const content = `Tell a story in which this happens, and say what everybody thinks of it.\n${question}`;
    if (tokenizer.chatTemplate === null) return tokenizer.encode(content);
    return chatPrompt(tokenizer, content);
  },
  repetitive(tokenizer, n) {
    const ids = promptOf(tokenizer, 160, n);
    return Promise.resolve([...ids, ...ids.slice(0, 32)]);
  },
};

async function measureModel(file: string, options: BenchOptions): Promise<Findings> {
  const model = openModel(file);
  const tokenizer = loadTokenizer(file);
  const staged = await openStagedModel(model, noExits, { arithmetic: 'int8', threads: options.threads });
  try {
    const rows: string[][] = [];
    const goals: Goal[] = [];
    const measurements: Measurement[] = [];
    for (const [kind, promptFor] of Object.entries(kinds)) {
      const prompts = await Promise.all(Array.from({ length: options.rounds + 1 }, (_, n) => promptFor(tokenizer, n)));
      const ways = [
        { name: 'full depth', different: {} },
        { name: 'lossless', different: { drafts: textDrafts(draftLimit) } },
      ].map((one): Writer => ({ ...one, session: openSession(staged), texts: [] }));
      const what = `${model.name}, ${kind}`;
      const together = sideBySide(ways, tokenizer, prompts, newTokens);
      const measured = await alternate([together], options.rounds, progress(what, options.rounds));
      const [fullTimes, times] = ways.map(({ name }) => measured.get(name)!) as [Measurement, Measurement];
      const records = ways[1]!.texts.slice(1).flat();
      const drafted = records.filter(({ draft }) => draft !== undefined);
      const right = drafted.filter(({ draft }) => draft!.accepted).length;
      const ratio = ratioOfTotals(fullTimes, times);
      rows.push([
        kind,
        figures(ratio),
        figures(Math.min(...times.samples.map((seconds, i) => fullTimes.samples[i]! / seconds))),
        figures(records.length / (records.length - right)),
        drafted.length === 0 ? 'none' : `${right} of ${drafted.length}`,
        ...[times, fullTimes].map((one) => figures((options.rounds * (newTokens - 1)) / total(one))),
      ]);
      goals.push({
        what: `\`lossless\` ÷ full depth, ${kind}, ${model.name}`,
        value: ratio,
        unit: '×',
        bound: 'at least',
        limit: 1 - mostLost,
      });
      measurements.push(...[...measured.values()].map((one) => ({ ...one, name: `${what}: ${one.name}` })));
    }
    const columns = ['', '÷ full depth', 'slowest text', 'tokens a pass', 'right drafts'];
    return {
      goals,
      tables: [
        {
          caption: `${model.name}: lossless with drafts of the text`,
          columns: [...columns, 'lossless, tokens/s', 'full, tokens/s'],
          rows,
        },
      ],
      notes: [],
      measurements,
    };
  } finally {
    await staged.dispose();
    model.close();
  }
}
