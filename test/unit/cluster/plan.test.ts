/** Plans are made of a configuration alone; the table of docs/distributed.md is what they say. What runs really hold and send: test/distributed. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseOptions } from '../../../protocol/options/options.ts';
import { bytesText } from '../../../protocol/bytes-text.ts';
import type { PlannedEvent, TuneEvent } from '../../../protocol/events.ts';
import { writeExits } from '../../../backend/checkpoint/writer.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { chooseEvenMesh, chooseMesh, requireRunnable, type PlannedRun } from '../../../backend/cluster/plan.ts';
import { plan, plannedRun } from '../../../backend/recipes/plan.ts';
import { ggufTwin } from '../../support/gguf-twins.ts';
import { fixtures } from '../../support/golden.ts';

/** As Llama 2 has them. */
const llama2 = {
  '7B': {
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
  },
  '13B': {
    hidden_size: 5120,
    intermediate_size: 13824,
    num_hidden_layers: 40,
    num_attention_heads: 40,
    num_key_value_heads: 40,
  },
  '70B': {
    hidden_size: 8192,
    intermediate_size: 28672,
    num_hidden_layers: 80,
    num_attention_heads: 64,
    num_key_value_heads: 8,
  },
};

let root: string;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'plan-'));
  for (const [name, shape] of Object.entries(llama2)) {
    fs.mkdirSync(path.join(root, name));
    const config = {
      model_type: 'llama',
      vocab_size: 32_000,
      max_position_embeddings: 4096,
      rms_norm_eps: 1e-5,
      ...shape,
    };
    fs.writeFileSync(path.join(root, name, 'config.json'), JSON.stringify(config));
  }
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function planned(model: string, gpus: number, more: Record<string, unknown> = {}): Promise<PlannedEvent> {
  const options = { model: path.join(root, model), plan: gpus, sequenceLength: 2048, accumulation: 32, ...more };
  for await (const event of plan(parseOptions('tune', options))) if (event.type === 'planned') return event;
  throw new Error('no plan');
}

const sum = (parts: Readonly<Record<string, number>>): number => Object.values(parts).reduce((a, b) => a + b, 0);

describe('a plan', () => {
  it('is what docs/distributed.md shows', async () => {
    const rows: string[][] = [];
    for (const [model, counts] of [
      ['7B', [1, 8]],
      ['13B', [1, 8]],
      ['70B', [8, 64]],
    ] as const) {
      for (const gpus of counts) {
        const { mesh, memory, traffic, hours } = await planned(model, gpus);
        const { backbone, exits, heads, working } = memory;
        const bytes = [backbone, exits, heads, working, sum({ ...memory }), sum(traffic)].map((each) =>
          bytesText(each),
        );
        rows.push([model, String(gpus), mesh, ...bytes, hours >= 10 ? hours.toFixed(0) : hours.toFixed(1)]);
      }
    }
    const page = fs.readFileSync('docs/distributed.md', 'utf8');
    const table = [...page.matchAll(/^\| +\d+B +\|.*$/gm)].map(([line]) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('`', '')),
    );
    expect(table).toEqual(rows);
  });

  it('has a 70B model in 16 bits on the ranks together, and halves a rank with twice the stages', async () => {
    const [two, four] = [await planned('70B', 2, { mesh: 'pp=2' }), await planned('70B', 4, { mesh: 'pp=4' })];
    // 68.98 billion parameters of which 0.26 billion are the output matrix, 2 bytes each.
    expect(two.memory.backbone).toBeGreaterThan(68.4e9);
    expect(two.memory.backbone).toBeLessThan(69.4e9);
    expect(four.memory.backbone / two.memory.backbone).toBeCloseTo(0.5, 2);
  });

  it('sends hidden states forward, the final stream back, gradients of exits, and a few numbers', async () => {
    const states = 64 * 2048 * 4096 * 2;
    const { traffic } = await planned('7B', 8, {
      mesh: 'pp=2,dp=4',
      exits: '8:norm,24:norm',
      head: 'shortlist',
      shortlist: 999,
    });
    expect(traffic['hidden']).toBe(states);
    expect(traffic['final']).toBe(states);
    expect(traffic['gradients']).toBe(4 * 4 * 2 * (4096 + 1000 * 4096 + 2));
    expect(traffic['bookkeeping']).toBe(8 * 8 * (3 * 2 + 6));
    expect(traffic['tensor']).toBe(0);
  });

  it('starts no stage behind the deepest exit unless exits distil', async () => {
    const plain = { exits: '16:norm', crossEntropy: 1, distillation: 0, mesh: 'pp=2' };
    const [near, whole] = [await planned('7B', 2, plain), await planned('7B', 2, { ...plain, distillation: 1 })];
    expect(near.hours).toBeLessThan(0.6 * whole.hours);
    expect(near.traffic['final']).toBe(0);
  });

  it('for a launch takes as many GPUs as share the windows of an update evenly', () => {
    const run = (accumulation: number): PlannedRun =>
      plannedRun(parseOptions('tune', { model: path.join(root, '7B'), accumulation, batchSize: 2 }));
    expect(chooseEvenMesh(run(4), 8)).toEqual({ pp: 1, dp: 8, tp: 1, shard: false });
    expect(chooseEvenMesh(run(1), 8)).toEqual({ pp: 4, dp: 2, tp: 1, shard: false });
    expect(chooseEvenMesh(run(1), 0)).toEqual({ pp: 1, dp: 1, tp: 1, shard: false });
    // Seven stages for one update of two windows: seven ranks cannot be halved.
    expect(chooseEvenMesh(run(1), 7)).toEqual({ pp: 7, dp: 1, tp: 1, shard: false });
  });

  it('of a whole model counts numbers, gradients and moments of everything on every rank', async () => {
    const directory = path.join(root, 'tuned.exits');
    const model = path.join(root, '7B');
    checkpointOf(directory, 24);
    const { whole, mesh, memory, traffic, fits } = await planned('7B', 4, { continuePretraining: directory });
    // Llama 2 7B has 6,738,415,616 parameters; a norm with its gain, and the model's own head.
    const trained = 6_738_415_616 + 4096;
    expect([whole, mesh, fits]).toEqual([true, 'pp=1,dp=4,tp=1', false]);
    expect(memory.backbone + memory.exits).toBe(16 * trained);
    expect(memory.heads).toBe(4 * 32_000 * 4096);
    expect(traffic).toMatchObject({
      gradients: 4 * 4 * (trained + 2 * 2),
      bookkeeping: 4 * 8 * (3 * 2 + 6),
      hidden: 0,
    });
    await expect(planned('7B', 4, { continuePretraining: directory, mesh: 'dp=2,tp=2' })).rejects.toThrow(
      /every rank trains the whole model/,
    );
    expect(plannedRun(parseOptions('tune', { model, continuePretraining: directory })).exits).toHaveLength(1);
  });

  it('refuses a mesh of another size, and says when nothing fits', async () => {
    await expect(planned('7B', 4, { mesh: 'pp=2' })).rejects.toThrow('--mesh pp=2,dp=1,tp=1 has 2 ranks, not 4.');
    expect((await planned('70B', 1)).fits).toBe(false);
    expect((await planned('7B', 1)).fits).toBe(true);
  });

  it('refuses a mesh on which nothing could run, and chooses none', async () => {
    for (const [model, mesh, why] of [
      ['7B', 'pp=64', '--mesh pp=64,dp=1,tp=1 cannot be used: 32 layers cannot be cut into 64 stages.'],
      ['70B', 'tp=64', '8 key heads cannot be shared evenly among 64 tensor parallel ranks.'],
    ] as const)
      await expect(planned(model, 64, { mesh })).rejects.toThrow(why);
    await expect(planned('7B', 3, { mesh: 'dp=3' })).rejects.toThrow(
      'an update has 64 windows, which 3 data parallel ranks cannot share evenly.',
    );
    const run = { ...plannedRun(parseOptions('tune', { model: path.join(root, '7B') })), windows: 1 };
    // As Command R+ has them.
    const normed: PlannedRun = { ...run, spec: { ...run.spec, qkNorm: 'heads' } };
    const parts = { pp: 1, dp: 1, tp: 2, shard: false };
    requireRunnable(run, parts);
    expect(() => requireRunnable(normed, parts)).toThrow(/each head of this model has a norm of its own/);
    expect([run, normed].map((each) => chooseMesh(each, 64).mesh.tp)).toEqual([2, 1]);
  });
});

/** A folder with a norm exit that reads with the model's own head. */
function checkpointOf(directory: string, layer: number): void {
  const base = { name: '7B', family: 'llama', layers: 32, hidden: 4096, vocabulary: 32_000, sha256: '0'.repeat(64) };
  const exit: ExitSpec = { layer, architecture: 'norm', head: { kind: 'shared' } };
  const values = new Map([[`exits.${layer}.norm.norm.weight`, new Float32Array(4096)]]);
  const shapes = new Map([[`exits.${layer}.norm.norm.weight`, [4096]]]);
  fs.mkdirSync(directory);
  const info = { base, exits: [exit], tuning: {}, calibration: null };
  writeExits(directory, info, values, shapes, { step: 0, tokens: 0, scores: [] });
}

it('plans a GGUF file as the model that it was made of, and says so', async () => {
  fs.writeFileSync(path.join(root, 'twin.gguf'), ggufTwin('stablelm'));
  fs.cpSync(path.join(fixtures, 'tiny/stablelm'), path.join(root, 'tiny'), { recursive: true });
  expect(await planned('twin.gguf', 2)).toEqual({ ...(await planned('tiny', 2)), model: 'twin.gguf' });
  const events: TuneEvent[] = [];
  for await (const event of plan(parseOptions('tune', { model: path.join(root, 'twin.gguf'), plan: 2 })))
    events.push(event);
  expect(events.map((event) => (event.type === 'note' ? event.message : event.type))).toEqual([
    expect.stringMatching(/^PyTorch tunes the model that twin\.gguf was made of.*: the plan is of that one/),
    'planned',
  ]);
});

it('refuses what opening the model would refuse: weights in forms of their own', async () => {
  fs.cpSync(path.join(root, '7B'), path.join(root, 'fp8'), { recursive: true });
  const file = path.join(root, 'fp8', 'config.json');
  const config = JSON.parse(fs.readFileSync(file, 'utf8')) as object;
  fs.writeFileSync(file, JSON.stringify({ ...config, quantization_config: { quant_method: 'fp8' } }));
  await expect(planned('fp8', 2)).rejects.toThrow(/its weights are quantised by "fp8"/);
});
