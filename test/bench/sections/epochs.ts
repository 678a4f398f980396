/** Tuning: a first epoch, through the backbone, and a later one, from the feature cache. */
import { rmSync } from 'node:fs';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { openFeatureCache } from '../../../backend/features/cache.ts';
import { featureSource, type Windows } from '../../../backend/features/features.ts';
import { windowsAt } from '../../../backend/tuning/trainer-order.ts';
import { freshFolder } from '../children.ts';
import { defaultExits, openStep, sayExits, type OpenedStep } from '../contestants/tuning.ts';
import { bigModel, shippedModel } from '../material.ts';
import { alternate, speedup, timed, type Contestant, type Measurement } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, figures, type Goal } from '../report.ts';
import { progress, type Section } from './section.ts';

const batch = 4;
const tokens = 512;
const windowCount = 16;

/** How the backbone of the first epoch computes; `fast` is what `tune` takes by default. */
const precisions = ['fast', 'exact'] as const;

export const epochsSection: Section = {
  title: 'An epoch from the feature cache',
  takes: 'about five minutes',
  each: 'once',
  async run({ rounds, threads }) {
    const file = bigModel() ?? shippedModel;
    const model = openModel(file);
    const exits = defaultExits(model);
    const windows = plainWindows(promptOf(loadTokenizer(file), windowCount * tokens + 1, 0));
    const steps: OpenedStep[] = [];
    try {
      const contestants: Contestant[] = [];
      for (const precision of precisions) {
        const opened = await openStep(model, exits, { batch, tokens, threads }, 'cross-entropy', precision);
        steps.push(opened);
        contestants.push({ name: precision, turn: () => twoEpochs(precision, opened, model.name, windows) });
      }
      const what = `two epochs of ${windowCount * tokens} tokens`;
      const measured = await alternate(contestants, rounds, progress(what, rounds));
      const rows: string[][] = [];
      const goals: Goal[] = [];
      for (const precision of precisions) {
        const [one, two] = [measured.get(`first, ${precision}`)!, measured.get(`later, ${precision}`)!];
        const ratio = speedup(two, one);
        const rate = ({ median }: Measurement): string => figures((windowCount * tokens) / median);
        rows.push([precision, both(one), both(two), both(ratio), rate(one), rate(two)]);
        goals.push({
          what: `tuning, a later epoch ÷ the first, default exits, backbone ${precision}`,
          value: ratio.median,
          unit: '×',
          bound: 'at least',
          limit: 2,
        });
      }
      return {
        goals,
        tables: [
          {
            caption: `${model.name}: a first epoch through the backbone, a later one from the cache`,
            columns: ['backbone', 'first, s', 'later, s', 'first ÷ later', 'first, tokens/s', 'later, tokens/s'],
            rows,
          },
        ],
        notes: [
          `${windowCount} windows of ${tokens} tokens, batches of ${batch}, exits ${sayExits(exits)}; the exits learn from the cross-entropy; the first epoch writes the cache as it goes, and each round begins with an empty one.`,
        ],
        measurements: [...measured.values()],
      };
    } finally {
      for (const opened of steps) await opened.dispose();
      model.close();
    }
  },
};

/** Both epochs over a new cache: what the first one writes, the later one reads. */
async function twoEpochs(
  name: string,
  { features, step, settings }: OpenedStep,
  backbone: string,
  windows: Windows,
): Promise<Record<string, number>> {
  const root = freshFolder('features');
  const cache = openFeatureCache({ root, key: { backbone, data: windows.hash, tokens } });
  const source = featureSource({ model: features, windows, cache });
  const epoch = async (number: number): Promise<void> => {
    for (let at = 0; at < windowCount; at += batch) {
      const order = windowsAt(1, windowCount, number * windowCount + at, batch);
      await step.update(await source.batch(order), settings);
    }
  };
  try {
    return { [`first, ${name}`]: await timed(() => epoch(0)), [`later, ${name}`]: await timed(() => epoch(1)) };
  } finally {
    cache.close();
    rmSync(root, { recursive: true, force: true });
  }
}

function plainWindows(ids: readonly number[]): Windows {
  return {
    count: windowCount,
    tokens,
    hash: 'bench',
    window: (index) => ({
      ids: Int32Array.from(ids.slice(index * tokens, (index + 1) * tokens)),
      targets: Int32Array.from(ids.slice(index * tokens + 1, (index + 1) * tokens + 1)),
    }),
  };
}
