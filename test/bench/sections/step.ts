/**
 * A tuning step: the compiled update as a share of what ONNX Runtime's own Gemm reaches on the products it cannot do without,
 * and the whole step, backbone included, beside the same in PyTorch.
 */
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel, type Model } from '../../../backend/model/open.ts';
import { gemmContestant, operations, stepProducts } from '../contestants/gemm.ts';
import { findTorch, torchContestant, type Torch } from '../contestants/torch.ts';
import { defaultExits, exitsAt, openStep, sayExits, stepContestant } from '../contestants/tuning.ts';
import { bigModel, shippedModel } from '../material.ts';
import { alternate, speedup, type Contestant, type Measurements } from '../measure.ts';
import { both, figures, type Findings, type Goal, type Table } from '../report.ts';
import { promptOf } from '../prompts.ts';
import { progress, type Section } from './section.ts';

const batch = 4;
const tokens = 512;
const positions = batch * tokens;
/** As in the paper's comparison. */
const fullHeadLayers = [8, 16, 24];

const full = 'full heads';
const ours = 'default exits';
const distilling = 'default exits, distilling';

export const stepSection: Section = {
  title: 'A tuning step',
  takes: 'about seven minutes with PyTorch, three without',
  each: 'once',
  async run({ rounds, threads }) {
    const big = bigModel();
    const file = big ?? shippedModel;
    const model = openModel(file);
    const torch = big === null ? null : await findTorch();
    const disposals: (() => Promise<void>)[] = [];
    try {
      const layers = big === null ? [3, 6, 9] : fullHeadLayers;
      const exits = {
        [full]: exitsAt(layers, 'mlp', { kind: 'own' }),
        [ours]: defaultExits(model),
      };
      const ids = Int32Array.from(promptOf(loadTokenizer(file), positions, 0));
      const contestants: Contestant[] = [];
      const work = new Map<string, number>();
      const shape = { batch, tokens, threads };
      for (const [name, specs] of Object.entries(exits)) {
        const opened = await openStep(model, specs, shape, 'cross-entropy');
        contestants.push(stepContestant(name, opened, ids, shape));
        const products = stepProducts(model, specs, positions);
        work.set(name, operations(products));
        const gemm = await gemmContestant(`${name} Gemm`, products, threads);
        contestants.push(gemm);
        disposals.push(
          () => opened.dispose(),
          () => gemm.dispose(),
        );
      }
      const byDefault = await openStep(model, exits[ours], shape, 'distilling');
      contestants.push(stepContestant(distilling, byDefault, ids, shape));
      disposals.push(() => byDefault.dispose());
      for (const precision of torch ? (['f32', 'bf16'] as const) : []) {
        const shapeThere = { batch, tokens, layers: fullHeadLayers };
        const contestant = await torchContestant(`PyTorch ${precision}`, torch!, precision, threads, shapeThere);
        contestants.push(contestant);
        disposals.push(() => contestant.dispose());
      }
      const measured = await alternate(contestants, rounds, progress(`a step of ${positions} tokens`, rounds));
      return findings(model, layers, measured, work, torch);
    } finally {
      for (const dispose of disposals) await dispose();
      model.close();
    }
  },
};

function findings(
  model: Model,
  layers: readonly number[],
  measured: Measurements,
  work: ReadonlyMap<string, number>,
  torch: Torch | null,
): Findings {
  const one = (name: string): NonNullable<ReturnType<Measurements['get']>> => measured.get(name)!;
  const goals: Goal[] = [full, ours].map((name) => ({
    what: `compiled update, share of Gemm's own speed, ${name}`,
    value: speedup(one(`${name} update`), one(`${name} Gemm`)).median,
    unit: '',
    bound: 'at least',
    limit: 0.6,
  }));
  const tables: Table[] = [
    {
      caption: `${model.name}: the compiled update of ${batch} × ${tokens} tokens, beside ONNX Runtime's Gemm`,
      columns: ['exits', 'share of Gemm', 'update, s', 'Gemm, s', 'update, GFLOP/s', 'Gemm, GFLOP/s'],
      rows: [full, ours].map((name) => {
        const [update, gemm] = [one(`${name} update`), one(`${name} Gemm`)];
        const speed = (seconds: number): string => figures(work.get(name)! / seconds / 1e9);
        return [name, both(speedup(update, gemm)), both(update), both(gemm), speed(update.median), speed(gemm.median)];
      }),
    },
  ];
  const rates = [full, ours, distilling, ...(torch ? ['PyTorch f32', 'PyTorch bf16'] : [])];
  tables.push({
    caption: `${model.name}: a whole step, from token ids to updated exits`,
    columns: ['', ...(torch ? ['÷ PyTorch f32', '÷ PyTorch bf16'] : []), 'tokens/s', 's', 'of that backbone, s'],
    rows: rates.map((name) => [
      name,
      ...(torch ? [both(speedup(one(name), one('PyTorch f32'))), both(speedup(one(name), one('PyTorch bf16')))] : []),
      figures(positions / one(name).median),
      both(one(name)),
      measured.has(`${name} backbone`) ? both(one(`${name} backbone`)) : '',
    ]),
  });
  if (torch) {
    const ratio = (name: string, other: string, limit: number): Goal => ({
      what: `a whole tuning step, ${name} ÷ ${other} with full heads`,
      value: speedup(one(name), one(other)).median,
      unit: '×',
      bound: 'at least',
      limit,
    });
    goals.push(ratio(full, 'PyTorch f32', 1), ratio(ours, 'PyTorch bf16', 3));
  }
  return {
    goals,
    tables,
    notes: [
      `"${full}": \`mlp\` exits at layers ${layers.join(', ')} with own heads over the whole vocabulary. "${ours}", those of \`tune\`: ${sayExits(defaultExits(model))}. They learn from the cross-entropy, as in PyTorch; "distilling", from the final exit's whole distribution, as \`tune\` does by default: the whole backbone runs, and its head.`,
      'Gemm: for every trained matrix the forward product and the two backward ones, as one call each over all tokens; the gradient of what an `mlp` exit reads is not counted, since nothing needs it.',
      ...(torch
        ? [
            `PyTorch ${torch.version}, eager, the same exits with full heads on the same shape of backbone, random weights; bf16 is autocast with float32 exits and AdamW, and a backbone in bfloat16.`,
          ]
        : []),
    ],
    measurements: [...measured.values()],
  };
}
