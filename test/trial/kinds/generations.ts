/** Generations in one language server: several at a time, of one model under several paths, some cancelled at any moment. */
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CancellationTokenSource } from 'vscode-languageserver/node';
import * as protocol from '../../../protocol/server.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { openClient, within, type LanguageClient } from '../language-client.ts';
import { modelFolder, shippedModel } from '../material.ts';
import { worst } from '../judge.ts';
import { failed, held, pick, type Kind, type Verdict } from '../trial.ts';

const prompts = ['function add(', 'const x =', 'import {'];
const maxTokens = 24;
const together = 6;
let named = 0;

export const generations: Kind = {
  name: 'generations',
  tries: `${together} generations at a time in one language server, of two models under five paths, half of them cancelled`,
  promise: 'each ends with the text that it has alone, or, cancelled, with its beginning; none is refused as busy',
  attempts: 40,
  inTests: 1,
  lanes: 1,
  async open({ program, folder: material }) {
    const home = path.join(material, 'generations');
    mkdirSync(home, { recursive: true });
    const tiny = modelFolder(material, 'qwen3');
    const link = path.join(home, 'link');
    if (!existsSync(link)) symlinkSync(shippedModel, link, 'junction');
    const models = [shippedModel, `${shippedModel}/.`, link, tiny, path.relative(home, tiny)];
    const client = following(await openClient(program, home));
    const texts = new Map<string, string>();
    for (const model of models) {
      for (const prompt of prompts) texts.set(`${model} ${prompt}`, (await generate(client, model, prompt, null)).text);
    }
    return {
      async attempt({ random }) {
        const all = Array.from({ length: together }, () => {
          const [model, prompt] = [pick(random, models), pick(random, prompts)];
          const cancelAfter = random() < 0.5 ? 300 * random() : null;
          return judgeGeneration(client, model, prompt, cancelAfter, texts.get(`${model} ${prompt}`)!);
        });
        return worst(await Promise.all(all));
      },
      close: async () => void (await client.close()),
    };
  },
};

/** A client with what each generation has said so far. */
interface Following extends LanguageClient {
  readonly texts: Map<string, string>;
}

function following(client: LanguageClient): Following {
  const texts = new Map<string, string>();
  const onTokens = ({ generation, tokens }: { generation: string; tokens: TokenRecord[] }): void =>
    void texts.set(generation, (texts.get(generation) ?? '') + tokens.map(({ text }) => text).join(''));
  client.connection.onNotification(protocol.tokensGenerated.method, onTokens);
  return { ...client, texts };
}

async function judgeGeneration(
  client: Following,
  model: string,
  prompt: string,
  cancelAfter: number | null,
  whole: string,
): Promise<Verdict> {
  try {
    const { text, stop } = await generate(client, model, prompt, cancelAfter);
    if (stop === 'cancelled' && cancelAfter !== null && whole.startsWith(text)) return held;
    return text === whole ? held : failed(`${model} says ${JSON.stringify(text)}, not ${JSON.stringify(whole)}`);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return cancelAfter !== null && /^Cancelled\./.test(message) ? held : failed(`${model}: ${message}`);
  }
}

async function generate(
  { connection, texts }: Following,
  model: string,
  prompt: string,
  cancelAfter: number | null,
): Promise<{ readonly text: string; readonly stop: string }> {
  const cancel = new CancellationTokenSource();
  const generation = String(named++);
  const params = { generation, prompt, options: { model, maxTokens, threads: 1, device: 'cpu' } };
  if (cancelAfter !== null) void wait(cancelAfter).then(() => cancel.cancel());
  texts.set(generation, '');
  const answer = connection.sendRequest<protocol.GenerationEnd>(protocol.generate.method, params, cancel.token);
  const { stop } = await within(answer, 'a generation did not end');
  return { text: texts.get(generation)!, stop };
}
