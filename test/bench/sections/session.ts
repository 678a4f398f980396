/**
 * What an editor's backend has when it writes two texts with one model: how long a suggestion takes while a chat is written, beside one
 * alone, and the memory of both beside that of a chat alone.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { CancellationTokenSource } from 'vscode-languageserver/node';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import type { CompletionResult, Gap } from '../../../protocol/completion.ts';
import { complete, generate, tokensGenerated } from '../../../protocol/server.ts';
import { build } from '../children.ts';
import { startLanguageServer, type LanguageServer } from '../contestants/language-server.ts';
import { typescriptText } from '../material.ts';
import { alternate, measurement, timed, type Measurements } from '../measure.ts';
import { figures, milliseconds, type Goal } from '../report.ts';
import { limits, typedTokens, typing } from './completions.ts';
import { fitting, progress, type Section } from './section.ts';

const contextTokens = 500;
const prompt = 'Explain in full how a hash table grows, with an example in TypeScript.';

const alone = 'suggestion alone';
const beside = 'suggestion while a chat is written';

export const sessionSection: Section = {
  title: 'Two texts of one model',
  takes: 'about a minute a model',
  each: 'model',
  async run({ rounds, threads }, file) {
    build();
    const name = path.basename(file);
    const tokenizer = loadTokenizer(file);
    const { documents, origin } = typescriptText('heldout');
    const model = openModel(file);
    const [context] = fitting([contextTokens], 5 * typedTokens * (rounds + 1), model) as [number];
    model.close();
    const gaps = typing(tokenizer, documents, context, 2 * (rounds + 2));
    const options = { model: file, device: 'cpu', threads };
    const server = await startLanguageServer();
    try {
      await chat(server, options, () => Promise.resolve());
      const one = resident(server);
      const measured = await measure(server, options, gaps, rounds, name);
      const both = resident(server);
      const ratio = measured.get(beside)!.median / measured.get(alone)!.median;
      const goals: Goal[] = [
        { what: `${beside} ÷ alone, ${name}`, value: ratio, unit: '×', bound: 'at most', limit: 1.5 },
        {
          what: `memory of chat and suggestions ÷ of a chat, ${name}`,
          value: both / one,
          unit: '×',
          bound: 'at most',
          limit: 1.25,
        },
      ];
      return {
        goals,
        tables: [
          {
            caption: `${name}: milliseconds from the request to the suggestion, ${context} tokens around the cursor`,
            columns: ['', 'ms'],
            rows: [...measured.values()].map((each) => [each.name, milliseconds(each)]),
          },
          {
            caption: `${name}: resident memory of the backend`,
            columns: ['after', 'MB'],
            rows: [
              ['a chat', figures(one / 1e6)],
              ['a chat and suggestions beside it', figures(both / 1e6)],
            ],
          },
        ],
        notes: [
          `TypeScript (${origin}); ${typedTokens} tokens were typed before each suggestion. The chat is one of the same model, which has written at least eight tokens when the suggestion is asked for.`,
        ],
        measurements: [...measured.values(), measurement(`memory ÷ a chat's`, [both / one])].map((each) => ({
          ...each,
          name: `${name} session: ${each.name}`,
        })),
      };
    } finally {
      await server.dispose();
    }
  },
};

type Options = Readonly<Record<string, unknown>>;

async function measure(
  server: LanguageServer,
  options: Options,
  gaps: readonly Gap[],
  rounds: number,
  name: string,
): Promise<Measurements> {
  let at = 0;
  const suggest = (): Promise<number> =>
    timed(() => server.request<CompletionResult>(complete.method, { gap: gaps[at++]!, limits, options }));
  const turn = async (): Promise<Record<string, number>> => {
    const found: Record<string, number> = { [alone]: await suggest() };
    await chat(server, options, async () => {
      found[beside] = await suggest();
    });
    return found;
  };
  return alternate([{ name: 'typing', turn }], rounds, progress(`${name}, two texts`, rounds));
}

let generations = 0;

/** Does something while a chat is written, and ends the chat. */
async function chat(server: LanguageServer, options: Options, meanwhile: () => Promise<void>): Promise<void> {
  const generation = `chat ${++generations}`;
  const ending = new CancellationTokenSource();
  let tokens = 0;
  const begun = new Promise<void>((resolve) => {
    server.onNotification<{ generation: string }>(tokensGenerated.method, (notification) => {
      if (notification.generation === generation && ++tokens === 8) resolve();
    });
  });
  const params = { generation, prompt, options: { ...options, maxTokens: 400 } };
  const over = server.request(generate.method, params, ending.token).catch(() => undefined);
  await Promise.race([begun, over]);
  await meanwhile();
  ending.cancel();
  await over;
}

/** Bytes. */
function resident({ pid }: LanguageServer): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}
