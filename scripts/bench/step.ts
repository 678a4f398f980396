/** The compiled tuning step, beside ONNX Runtime's own matrix products of the same shapes and beside PyTorch. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { initialiseExit } from '../../backend/exits/initialise.ts';
import { exitId, type ExitSpec, type HeadSpec } from '../../backend/exits/spec.ts';
import { GraphBuilder } from '../../backend/graph/builder.ts';
import { openModel, type Model } from '../../backend/model/open.ts';
import { openSession } from '../../backend/runtime/session.ts';
import { createCompiledStep } from '../../backend/tuning/step.ts';
import type { StepBatch, TuningStep } from '../../backend/tuning/types.ts';
import { alternate, compare, type Comparison, type Figures, type Result } from './harness.ts';
import type { Setting } from './main.ts';

const BATCH = 4;
const TOKENS = 512;
const SHORTLIST = 4096;
/** Rows of one product with the head: what a step keeps of the logits at a time. */
const HEAD_ROWS = 512;

export async function benchStep(setting: Setting): Promise<Result[]> {
  const model = openModel(setting.model);
  const { layers } = model.spec;
  const at = [8, 16, 24].map((layer) => Math.max(1, Math.round((layer / 30) * layers.length)));
  const tokens = Array.from({ length: Math.min(SHORTLIST, model.spec.vocabulary - 1) }, (_, i) => i);
  const full = await measured(model, at, 'mlp', { kind: 'own' }, setting);
  const light = await measured(model, at, 'lens', { kind: 'shortlist', tokens }, setting);
  const torch = pytorch(model, at.length, setting.threads);
  const speeds: Figures[] = [
    { ...full.figures, name: 'MLP exits, own full heads' },
    { ...light.figures, name: 'default exits (lens, shortlist)' },
    ...torch.figures,
  ];
  const share: Comparison = {
    what: "full heads, share of ONNX Runtime's own products",
    ratio: full.share,
    atLeast: 0.6,
  };
  model.close();
  return [
    {
      benchmark: 'step',
      title: `A compiled tuning step of ${model.name}: batch ${BATCH} × ${TOKENS}, exits ${at.join(', ')}, ${setting.threads} threads`,
      unit: 'tokens/s',
      figures: speeds,
      comparisons: [
        share,
        ...compare(speeds, 'MLP exits, own full heads', 'PyTorch, float32', 1, 'larger'),
        ...compare(speeds, 'default exits (lens, shortlist)', 'PyTorch, bfloat16', 3, 'larger'),
      ],
      notes: [
        `The same products alone take ${full.ideal.toFixed(2)} s a step with full heads.`,
        ...(torch.figures.length === 0 ? ['PyTorch was not there to compare with.'] : []),
      ],
    },
  ];
}

async function measured(
  model: Model,
  layers: readonly number[],
  architecture: ExitSpec['architecture'],
  head: HeadSpec,
  { threads, rounds }: Setting,
): Promise<{ figures: Figures; share: number; ideal: number }> {
  const exits = layers.map((layer): ExitSpec => ({ layer, architecture, head }));
  const initial = new Map(
    exits.flatMap((exit) => [...initialiseExit(model.spec, exit, model.parameters, { kind: 'copy' })]),
  );
  const step = await createCompiledStep({
    spec: model.spec,
    exits,
    initial,
    model: model.parameters,
    objective: { crossEntropy: 1, distillation: 0, weighting: 'uniform' },
    optimiser: {
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-5,
      weightDecay: 0.01,
      decay: 'matrices',
      gradientClip: 1,
      clip: 'each',
    },
    batch: BATCH,
    tokens: TOKENS,
    threads,
  });
  const batch = randomBatch(model, exits);
  const classes = head.kind === 'shortlist' ? head.tokens.length + 1 : model.spec.vocabulary;
  const products = await productSeconds(model, architecture, classes, threads);
  const [figures, ideal] = await alternate(
    [
      { name: 'step', measure: () => stepSeconds(step, batch) },
      { name: 'products', measure: async () => exits.length * (await products.measure()) },
    ],
    rounds,
    'smaller',
  );
  await step.dispose();
  await products.dispose();
  const perSecond = (seconds: number): number => (BATCH * (TOKENS - 1)) / seconds;
  const { best, median } = figures!;
  return {
    figures: { ...figures!, best: perSecond(best), median: perSecond(median) },
    share: ideal!.median / median,
    ideal: ideal!.median,
  };
}

async function stepSeconds(step: TuningStep, batch: StepBatch): Promise<number> {
  const exitWeights = new Map(step.exits.map((exit) => [exitId(exit), 1]));
  const start = performance.now();
  await step.update(batch, { learningRate: 1e-4, exitWeights });
  return (performance.now() - start) / 1000;
}

function randomBatch(model: Model, exits: readonly ExitSpec[]): StepBatch {
  let state = 1;
  const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
  const { hidden, vocabulary } = model.spec;
  const features = new Map(
    exits.map(({ layer, architecture }) => [
      `${layer}.${architecture === 'mlp' ? 'attention' : 'end'}`,
      Float32Array.from({ length: BATCH * TOKENS * hidden }, () => random() - 0.5),
    ]),
  );
  const targets = Int32Array.from({ length: BATCH * TOKENS }, (_, i) =>
    i % TOKENS === TOKENS - 1 ? -1 : Math.floor(random() * vocabulary),
  );
  return { batch: BATCH, tokens: TOKENS, features, targets, final: null };
}

interface Product {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly times: number;
}

/** Seconds that the matrix products of one exit's forward and backward pass take by themselves. */
async function productSeconds(
  model: Model,
  architecture: string,
  classes: number,
  threads: number,
): Promise<{ measure(): Promise<number>; dispose(): Promise<void> }> {
  const { hidden, feedForward, mlp } = model.spec;
  const rows = BATCH * TOKENS;
  const chunks = rows / HEAD_ROWS;
  // Forward, gradient of the input, gradient of the weight.
  const products: Product[] = [
    { rows: HEAD_ROWS, inner: hidden, columns: classes, times: chunks },
    { rows: HEAD_ROWS, inner: classes, columns: hidden, times: chunks },
    { rows: classes, inner: HEAD_ROWS, columns: hidden, times: chunks },
  ];
  if (architecture === 'mlp') {
    const inputs = mlp === 'gated' ? 2 : 1;
    products.push(
      { rows, inner: hidden, columns: feedForward, times: inputs + 1 },
      { rows, inner: feedForward, columns: hidden, times: 1 },
      { rows: feedForward, inner: rows, columns: hidden, times: inputs + 1 },
    );
  } else
    products.push(
      { rows, inner: hidden, columns: hidden, times: 2 },
      { rows: hidden, inner: rows, columns: hidden, times: 1 },
    );
  const sessions = await Promise.all(
    products.map(async (product) => {
      const builder = new GraphBuilder();
      const a = builder.input('a', 'float32', [product.rows, product.inner]);
      const b = builder.input('b', 'float32', [product.inner, product.columns]);
      // A sum, so that the product itself is not copied out.
      const sum = builder.node('ReduceSum', [builder.node('MatMul', [a, b])], { keepdims: 0 });
      builder.output(sum, 'sum', 'float32', []);
      const feeds = {
        a: { data: new Float32Array(product.rows * product.inner).fill(0.5), shape: [product.rows, product.inner] },
        b: {
          data: new Float32Array(product.inner * product.columns).fill(0.5),
          shape: [product.inner, product.columns],
        },
      };
      return { product, feeds, session: await openSession(builder.build(), { threads }) };
    }),
  );
  return {
    async measure() {
      let seconds = 0;
      for (const { product, feeds, session } of sessions) {
        const start = performance.now();
        await session.run(feeds);
        seconds += (product.times * (performance.now() - start)) / 1000;
      }
      return seconds;
    },
    async dispose() {
      for (const { session } of sessions) await session.dispose();
    },
  };
}

/** The same step in PyTorch, where python3 has it. */
function pytorch(model: Model, exits: number, threads: number): { figures: Figures[] } {
  const { hidden, feedForward, vocabulary } = model.spec;
  const shape = { batch: BATCH, tokens: TOKENS, hidden, feedForward, vocabulary, exits, threads };
  const script = path.join(import.meta.dirname, 'step.py');
  const { status, stdout } = spawnSync('python3', [script, JSON.stringify(shape)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return { figures: status === 0 ? (JSON.parse(stdout) as Figures[]) : [] };
}
