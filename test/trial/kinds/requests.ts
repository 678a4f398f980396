/** Requests and notifications to the language server whose parameters are not what they should be. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import * as protocol from '../../../protocol/server.ts';
import { problemOfUnshown } from '../judge.ts';
import { openClient, type LanguageClient } from '../language-client.ts';
import { modelFolder, smallTuning, textFolder } from '../material.ts';
import { damageValue, hostileValue } from '../mutations/json.ts';
import { below, failed, held, pick, type Kind, type Verdict } from '../trial.ts';

const uri = 'file:///trial/a.ts';
const textDocument = { uri };
const position = { line: 0, character: 3 };
const trace = { model: 'm', layers: 4, exits: ['2:norm', 'final'], policy: 'full', prompt: 'let', stop: null };
const token = { sequence: 0, index: 0, id: 5, text: ' x', layer: 2, exit: '2:norm', confidence: 0.9 };

interface Message {
  readonly kind: 'request' | 'notification';
  readonly method: string;
  readonly params: unknown;
}

/** Sound messages, to be damaged. */
function messages(folder: string, material: string): readonly Message[] {
  const model = modelFolder(material, 'llama-untied');
  const data = [path.join(textFolder(material), 'errors.ts')];
  const tuning = {
    ...smallTuning,
    exits: '2:norm',
    steps: 1,
    shortlist: 16,
    model,
    data,
    out: path.join(folder, 'out.exits'),
  };
  const ours = ({ kind, method }: Pick<Message, 'kind' | 'method'>, params: unknown): Message => ({
    kind,
    method,
    params,
  });
  const standard = (method: string, params: unknown): Message => ({ kind: 'request', method, params });
  const notificationOf = (method: string, params: unknown): Message => ({ kind: 'notification', method, params });
  return [
    ours(protocol.startRun, { title: 'a run', options: tuning }),
    ours(protocol.stopRun, { id: 'x' }),
    ours(protocol.pauseRun, { id: 'x' }),
    ours(protocol.resumeRun, { id: 'x' }),
    ours(protocol.listRuns, {}),
    ours(protocol.readRun, { id: 'x', from: 0 }),
    ours(protocol.generate, { generation: 'g', prompt: 'let', options: { model, maxTokens: 2, threads: 1 } }),
    ours(protocol.generate, { generation: 'g', uri, prompt: 'let', options: { model, maxTokens: 2, threads: 1 } }),
    ours(protocol.attachTrace, { uri, generation: 'g', offset: 3, trace: { ...trace, tokens: [token] } }),
    ours(protocol.attachTrace, { uri, generation: 'g', offset: 3, trace: { ...trace, tokens: [token] } }),
    ours(protocol.placeTokens, { generation: 'g', offset: 3, count: 1 }),
    ours(protocol.readTraces, { uri }),
    ours(protocol.listExits, { folders: [folder] }),
    ours(protocol.listModels, { folders: [folder] }),
    ours(protocol.readStatus, {}),
    ours(protocol.detachTrace, { generation: 'g' }),
    ours(protocol.displayChanged, { codeLens: true, inlayHints: true, hover: true, semanticTokens: true }),
    standard('textDocument/codeLens', { textDocument }),
    standard('textDocument/hover', { textDocument, position }),
    standard('textDocument/inlayHint', { textDocument, range: { start: position, end: position } }),
    standard('textDocument/documentSymbol', { textDocument }),
    standard('textDocument/semanticTokens/full', { textDocument }),
    notificationOf('textDocument/didOpen', {
      textDocument: { uri, languageId: 'exittrace', version: 1, text: 'exittrace 1\n' },
    }),
    notificationOf('textDocument/didChange', {
      textDocument: { uri, version: 2 },
      contentChanges: [{ text: 'let x' }],
    }),
    notificationOf('textDocument/didClose', { textDocument }),
  ];
}

export const requests: Kind = {
  name: 'requests',
  tries: 'requests and notifications to the language server with parameters of the wrong kind',
  promise: 'each request is answered, with a sentence where it is refused, and the server goes on',
  attempts: 600,
  inTests: 20,
  lanes: 2,
  async open({ program, folder: material }) {
    modelFolder(material, 'llama-untied');
    textFolder(material);
    let client: LanguageClient | null = null;
    const home = path.join(material, `server-${process.pid}-${Math.round(performance.now())}`);
    mkdirSync(home, { recursive: true });
    return {
      async attempt({ random }) {
        if (!client || client.isGone()) {
          client = await openClient(program, home);
          await open(client);
        }
        const message = damaged(pick(random, messages(home, material)), random);
        const verdict = await send(client, message).catch((error: unknown) => failed(String(error)));
        if (verdict.verdict !== 'held') {
          // What it does then is not the next one's fault.
          client.child.kill('SIGKILL');
          client = null;
          const shownParams = JSON.stringify(message.params)?.slice(0, 300);
          return failed(`${message.method} ${shownParams}: ${'why' in verdict ? verdict.why : ''}`);
        }
        return verdict;
      },
      close: async () => void (await client?.close()),
    };
  },
};

const open = (client: LanguageClient): Promise<void> =>
  client.connection.sendNotification('textDocument/didOpen', {
    textDocument: { uri, languageId: 'typescript', version: 1, text: 'let x = 1;\n' },
  });

function damaged(message: Message, random: Random): Message {
  let params = random() < 0.1 ? hostileValue(random) : message.params;
  for (let n = 1 + below(random, 2); n > 0; n--) params = damageValue(params, random);
  return { ...message, params };
}

async function send(client: LanguageClient, { kind, method, params }: Message): Promise<Verdict> {
  if (kind === 'notification') await client.connection.sendNotification(method, params as object);
  else {
    const answer = await client.ask(method, params);
    const problem = answer.ok ? null : problemOfUnshown(answer.message);
    if (problem) return failed(problem);
  }
  return settle(client);
}

/** The server still answers; what it has begun is stopped. */
async function settle(client: LanguageClient): Promise<Verdict> {
  const runs = await client.ask(protocol.listRuns.method, {});
  if (!runs.ok) return failed(`afterwards: ${runs.message}`);
  for (const { id, state } of runs.result as protocol.RunSummary[]) {
    if (state !== 'running') continue;
    const stopped = await client.ask(protocol.stopRun.method, { id });
    if (!stopped.ok) return failed(`a run that was begun cannot be stopped: ${stopped.message}`);
  }
  return held;
}
