/** A server over the model that ships, with a chat template, tokens for filling in the middle, and copied exits. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCheckpoint } from '../../backend/checkpoint/writer.ts';
import type { ExitSpec } from '../../backend/exits/spec.ts';
import { openModel } from '../../backend/model/open.ts';
import { identify } from '../../backend/recipes/opening/opened.ts';
import { startServing, type RunningServer } from '../../backend/server/serve.ts';
import { parseOptions } from '../../protocol/options/options.ts';
import type { RequestRecord } from '../../protocol/serving.ts';
import { shippedModel } from './golden.ts';
import { copiedExits } from './models.ts';

const specs: readonly ExitSpec[] = [
  { layer: 4, architecture: 'norm', head: { kind: 'shared' } },
  { layer: 8, architecture: 'lens', head: { kind: 'shared' } },
];

export interface Place {
  readonly model: string;
  readonly exits: string;
}

/** Names of its special tokens, in the places of the vocabulary's last ones. */
const markers = ['<|fim_prefix|>', '<|fim_suffix|>', '<|fim_middle|>'];

/** Writes model and exits into a folder. */
export async function servedFiles(folder: string): Promise<Place> {
  const model = join(folder, 'served-model');
  const exits = join(folder, 'served.exits');
  cpSync(shippedModel, model, { recursive: true });
  const template =
    '{% for m in messages %}// {{ m.role }}: {{ m.content }}\n{% endfor %}{% if tools %}// tools: {{ tools | length }}\n{% endif %}{% if thinks is defined %}// thinks: {{ thinks }}\n{% endif %}';
  writeFileSync(join(model, 'chat_template.jinja'), template);
  const file = join(model, 'tokenizer.json');
  const tokenizer = JSON.parse(readFileSync(file, 'utf8')) as { added_tokens: object[] };
  // Other readers want to be told all of it.
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const added = markers.map((content, i) => ({ id: 4093 + i, content, special: true, ...plain }));
  writeFileSync(file, JSON.stringify({ ...tokenizer, added_tokens: [...tokenizer.added_tokens, ...added] }));
  const opened = openModel(model);
  const { parameters } = copiedExits(opened, specs);
  const values = new Map([...parameters].map(([name, { data }]) => [name, Float32Array.from(data)]));
  const zeros = new Map([...values].map(([name, data]) => [name, new Float32Array(data.length)]));
  createCheckpoint(exits, {
    info: { base: await identify(opened), exits: [...specs], tuning: {}, calibration: null },
    shapes: new Map([...parameters].map(([name, { shape }]) => [name, shape])),
    state: { updates: 0, parameters: values, firstMoments: zeros, secondMoments: zeros },
    progress: { step: 0, tokens: 0, scores: [] },
    position: { step: 0, windows: 0, tokens: 0, seconds: 0, best: null, before: [], data: '', finished: false },
    metrics: [],
  }).close();
  opened.close();
  return { model, exits };
}

export interface TestServer extends RunningServer {
  readonly defects: unknown[];
  /** Settles once the model is there. */
  readonly loaded: Promise<void>;
}

export async function serveHere(
  place: Place,
  given: Record<string, unknown> = {},
  onRequest?: (record: RequestRecord) => void,
): Promise<TestServer> {
  const defects: unknown[] = [];
  const options = parseOptions('serve', { ...place, port: 0, device: 'cpu', ...given });
  let load: () => void = () => undefined;
  const loaded = new Promise<void>((resolve) => (load = resolve));
  const server = await startServing(options, {
    onEvent: (event) => event.type === 'serving' && load(),
    onDefect: (error) => void defects.push(error),
    ...(onRequest && { onRequest }),
  });
  return { ...server, defects, loaded };
}

/** What any endpoint may answer. */
export interface Choice {
  text: string;
  index: number;
  finish_reason: string;
  message: { content: string };
  logprobs: {
    tokens: string[];
    token_logprobs: (number | null)[];
    top_logprobs: (object | null)[];
    text_offset: number[];
    content: { top_logprobs: object[] }[];
  };
  early_exit: { mean_layer: number; tokens: { layer: number; exit: string; confidence: number; id: number }[] };
}
export interface Answer {
  choices: Choice[];
  usage: { prompt_tokens: number; completion_tokens: number; prompt_tokens_details: { cached_tokens: number } };
  error: { message: string; code: string };
  index: number;
  content: string;
  tokens: number[];
  stop_type: string;
  completion_probabilities: { top_logprobs: object[] }[];
  tokens_evaluated: number;
  prompt: string;
}

/** Asks a server as a client without a library does. */
export function clientOf(server: string) {
  const post = (path: string, body: unknown, init: RequestInit = {}, url = server): Promise<Response> =>
    fetch(`${url}${path}`, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), ...init });
  const ask = async (path: string, body: unknown): Promise<Answer> => (await (await post(path, body)).json()) as Answer;
  return { post, ask };
}

/** A field of a metrics page. */
export async function metric(url: string, name: string): Promise<number> {
  const page = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^early_exit_${name} (\\d+)$`, 'm').exec(page)?.[1]);
}
