/**
 * Runs models on a graphics card by Vulkan in a process of its own, because a driver is found by the environment that a process
 * starts with. Prints one line of JSON: the answer to the question it was asked. One at a time: Mesa 22's driver crashes over buffers
 * that were freed.
 */
import { join } from 'node:path';
import { placeOn, placeStagedModel } from '../../backend/devices/fallback.ts';
import { probeGpus, type Gpu } from '../../backend/devices/gpus.ts';
import { openLibrary, type Library } from '../../backend/ggml/library.ts';
import { libraryFolder } from '../../backend/ggml/packages.ts';
import type { ExitSpec } from '../../backend/exits/spec.ts';
import { openModel } from '../../backend/model/open.ts';
import { noExits, openStagedModel, type RuntimeOptions } from '../../backend/runtime/open.ts';
import { trunkLength, type StagedModel } from '../../backend/runtime/staged-model.ts';
import { confidenceAt, decodeAll, eagerSession, finalLogits, idsOf, plainRequest } from '../support/decoding.ts';
import { fixtures, maxDifference, readGolden } from '../support/golden.ts';
import { copiedExits, tinyModel } from '../support/models.ts';

export interface Answers {
  /** Largest difference of any logit from the reference. */
  readonly logits: number;
  /** The same for a model of which the card has this number of layers. */
  readonly split: number;
  /** Ids of each sequence with their exit layers. */
  readonly decoding: { readonly cpu: string[][]; readonly gpu: string[][] };
  readonly splitDecoding: Answers['decoding'];
  /** Texts, and those that drafts changed. */
  readonly lossless: { readonly texts: number; readonly differ: number };
  /** Bytes that go to the card and come back for a token, after this number of others. */
  readonly bytes: Record<number, { readonly sent: number; readonly fetched: number }>;
  /** A card that is lost during a text: what the text is, what it would be, and what was said. */
  readonly lost: { readonly ids: number[]; readonly expected: number[]; readonly warnings: string[] };
}

const found = await probeGpus('vulkan');
if ('problem' in found) throw new Error(found.problem);
const gpu: Gpu = found.found[0]!;
const library: Library = openLibrary(libraryFolder()!);

const on = (layers = 99): RuntimeOptions => ({ gpu: { gpu, layers } });
const exits: ExitSpec[] = [
  { layer: 1, architecture: 'lens', head: { kind: 'shared' } },
  { layer: 2, architecture: 'mlp', head: { kind: 'own' } },
  { layer: 3, architecture: 'layer', head: { kind: 'shortlist', tokens: [3, 7, 12, 20, 33, 40] } },
];

async function difference(path: string, golden: string, options: RuntimeOptions): Promise<number> {
  const { ids, logits } = readGolden<{ ids: number[]; logits: number[][] }>(golden);
  const staged = await openStagedModel(openModel(join(fixtures, path)), noExits, options);
  return maxDifference(await finalLogits(staged, ids), logits.flat());
}

const questions: { [Name in keyof Answers]: (word?: string) => Promise<Answers[Name]> } = {
  logits: (name = '') =>
    name.startsWith('llama-q')
      ? difference(join('gguf', `${name}.gguf`), join('gguf', `${name}.golden.json`), { ...on(), arithmetic: 'int8' })
      : difference(join('tiny', name), join('tiny', name, 'golden.json'), on()),

  async split(layers = '') {
    const path = join('tiny', 'llama-untied');
    return difference(path, join(path, 'golden.json'), on(Number(layers)));
  },

  decoding: () => decodedOn(on()),
  splitDecoding: () => decodedOn(on(2)),

  async lossless() {
    const model = tinyModel();
    const staged = await openStagedModel(model, copiedExits(model, exits), on());
    const texts = 4;
    let differ = 0;
    for (let i = 0; i < texts; i++) {
      const prompt = Array.from({ length: 6 }, (_, n) => (i * 37 + n * 11) % model.spec.vocabulary);
      const text = async (drafts: boolean): Promise<string> => {
        const different = drafts ? { drafts: { lookup: true, exits: () => true, limit: 2 } } : {};
        const request = plainRequest([prompt], 8, { enabled: () => false, ...different });
        return idsOf((await decodeAll(eagerSession(staged), request)).tokens[0]!).join();
      };
      if ((await text(false)) !== (await text(true))) differ++;
    }
    return { texts, differ };
  },

  async bytes() {
    const model = tinyModel();
    const staged = await openStagedModel(model, noExits, on());
    const counted: Answers['bytes'] = {};
    // Keys are read in steps of 256.
    for (const context of [20, 260]) counted[context] = await bytesOfToken(staged, context);
    return counted;
  },

  async lost() {
    composeAttention();
    const model = tinyModel();
    const warnings: string[] = [];
    const device = { kind: 'vulkan', share: { gpu, layers: 2 }, name: 'the card', reason: '', named: false } as const;
    const placement = placeOn(device, (message) => void warnings.push(message));
    const staged = await placeStagedModel(placement, model, copiedExits(model, exits));
    const ids = await loseAfter(6, () => idsOfText(staged));
    const cpu = await openStagedModel(model, copiedExits(model, exits));
    return { ids, expected: await idsOfText(cpu), warnings };
  },
};

/**
 * From here on attention is composed: Mesa 22's driver crashes in the one operator for several rows, and compiles a program of it for ten
 * seconds and more.
 */
function composeAttention(): void {
  const before = { ...library };
  library.deviceSupports = (device, tensor) =>
    library.operatorName(tensor) !== 'FLASH_ATTN_EXT' && before.deviceSupports(device, tensor);
}

/** A batch with exits whose tokens leave at different layers, on the CPU and on the card. */
async function decodedOn(card: RuntimeOptions): Promise<Answers['decoding']> {
  composeAttention();
  const model = tinyModel();
  const prompts = [
    [5, 9, 2, 14],
    [7, 3],
  ];
  const run = async (options: RuntimeOptions): Promise<string[][]> => {
    const staged = await openStagedModel(model, copiedExits(model, exits), options);
    const { tokens } = await decodeAll(staged, plainRequest(prompts, 8, { policy: confidenceAt(0.1) }));
    return tokens.map((row) => row.map(({ id, layer }) => `${id}@${layer}`));
  };
  return { cpu: await run({}), gpu: await run(card) };
}

async function idsOfText(staged: StagedModel): Promise<number[]> {
  const request = plainRequest([[5, 9, 2, 14]], 16, { policy: confidenceAt(0.1) });
  return idsOf((await decodeAll(staged, request)).tokens[0]!);
}

/** Bytes that cross for the token after this number of others. */
async function bytesOfToken(staged: StagedModel, context: number): Promise<{ sent: number; fetched: number }> {
  const slots = staged.openSlots(2);
  const ids = Array.from({ length: context }, (_, i) => (i * 7) % staged.spec.vocabulary);
  const pass = async (tokens: readonly number[]): Promise<void> => {
    slots.enter(0, tokens);
    for (let s = 0; s < trunkLength(staged); s++) await slots.run(s, [tokens.length, 0]);
    await slots.read(staged.exits.length - 1, [0], [1], { logits: false });
  };
  // In pieces of one shape: each shape has programs of the card's own, which take longer to compile than to run.
  for (let read = 0; read < context; read += 20) await pass(ids.slice(read, read + 20));
  // The first pass of a shape uploads what its graphs want once.
  await pass([1]);
  const before = { ...library };
  const crossed = { sent: 0, fetched: 0 };
  library.set = (tensor, data, offset, size) => {
    crossed.sent += size;
    before.set(tensor, data, offset, size);
  };
  library.get = (tensor, data, offset, size) => {
    crossed.fetched += size;
    before.get(tensor, data, offset, size);
  };
  await pass([2]);
  Object.assign(library, before);
  return crossed;
}

/** After this number of graphs the card fails. */
async function loseAfter<R>(graphs: number, run: () => Promise<R>): Promise<R> {
  const before = { ...library };
  let left = graphs;
  library.compute = (backend, graph) => {
    return cards.has(backend) && left-- <= 0 ? -1 : before.compute(backend, graph);
  };
  try {
    return await run();
  } finally {
    Object.assign(library, before);
  }
}

/** Backends of cards: all but the CPU's. */
const cards = new Set<bigint>();
const opening = { ...library };
library.initDevice = (device, parameters) => {
  const backend = opening.initDevice(device, parameters);
  if (library.deviceName(device) === gpu.name) cards.add(backend);
  return backend;
};

const [question, word] = process.argv.slice(2) as [keyof Answers, string?];
const answer = await questions[question](word);
process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(0));
