/** The server: many clients beside one, and one beside `generate`, at full depth. */
import { setTimeout } from 'node:timers/promises';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { generate } from '../../../backend/recipes/generate.ts';
import { closeGenerators } from '../../../backend/recipes/opening/generator.ts';
import { startServing } from '../../../backend/server/serve.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { alternate, timed, type Measurement } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, rate, type Findings } from '../report.ts';
import { fitting, progress, type BenchOptions, type Section } from './section.ts';

const clients = 16;
const newTokens = 48;
const contextTokens = 512;

export const serveSection: Section = {
  title: 'Server',
  takes: 'about three minutes for SmolLM2',
  each: 'model',
  async run(options, file) {
    const model = openModel(file);
    const [context] = fitting([contextTokens], newTokens, model) as [number];
    model.close();
    const tokenizer = loadTokenizer(file);
    const texts = Array.from({ length: clients }, (_, i) => tokenizer.decode(promptOf(tokenizer, context, i)));
    return measure(file, model.name, texts, context, options);
  },
};

async function measure(
  file: string,
  name: string,
  texts: readonly string[],
  context: number,
  { rounds, threads }: BenchOptions,
): Promise<Findings> {
  const where = { model: file, device: 'cpu', threads, mode: 'full' };
  let load = (): void => undefined;
  const loaded = new Promise<void>((resolve) => (load = resolve));
  const server = await startServing(
    parseOptions('serve', { ...where, port: 0, parallel: clients, cacheMegabytes: 8192 }),
    { onEvent: (event) => event.type === 'serving' && load(), onDefect: (error) => console.error(error) },
  );
  await loaded;
  const ask = async (prompt: string): Promise<void> => {
    const body = JSON.stringify({ prompt, max_tokens: newTokens });
    const response = await fetch(`${server.url}/v1/completions`, { method: 'POST', body });
    if (!response.ok) throw new Error(await response.text());
    await response.json();
  };
  const alone = parseOptions('generate', { ...where, prompt: [texts[0]!], maxTokens: newTokens });
  const write = async (): Promise<void> => {
    const events = generate(alone, new AbortController().signal);
    while (!(await events.next()).done);
  };
  const turns: [string, () => Promise<unknown>][] = [
    ['generate', write],
    ['one client', () => ask(texts[0]!)],
    [`${clients} clients`, () => Promise.all(texts.map(ask))],
  ];
  const contestants = turns.map(([each, work]) => ({ name: each, turn: async () => ({ [each]: await timed(work) }) }));
  try {
    for (const [, work] of turns) await work();
    // In a pause like this one weights, keys and values are laid out in large pages.
    await setTimeout(4000);
    const measured = await alternate(contestants, rounds, progress(`${name}, server`, rounds));
    const [generated, one, many] = turns.map(([each]) => measured.get(each)!) as [
      Measurement,
      Measurement,
      Measurement,
    ];
    const gain = (clients * one.median) / many.median;
    const overhead = 100 * (one.median / generated.median - 1);
    return {
      goals: [
        {
          what: `${clients} clients ÷ one, tokens a second, ${name}`,
          value: gain,
          unit: '×',
          bound: 'at least',
          limit: 5,
        },
        {
          what: `server beside generate, time a token, ${name}`,
          value: overhead,
          unit: ' %',
          bound: 'at most',
          limit: 3,
        },
      ],
      tables: [
        {
          caption: `${name}: ${newTokens} tokens behind ${context} that are remembered, full depth`,
          columns: ['', 'tokens/s', 's'],
          rows: [generated, one, many].map((each, i) => [
            turns[i]![0],
            rate(each, newTokens * (i === 2 ? clients : 1)),
            both(each),
          ]),
        },
      ],
      notes: ['Clients are in the process of the server, whose model has a thread of its own; `generate` has another.'],
      measurements: [generated, one, many].map((each) => ({ ...each, name: `${name} server: ${each.name}` })),
    };
  } finally {
    await server.close();
    await closeGenerators();
  }
}
