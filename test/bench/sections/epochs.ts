/** Tuning: a first epoch, through the backbone, and a later one, from the feature cache. */
import { rmSync } from 'node:fs';
import { loadTokenizer } from '../../../backend/data/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { openFeatureCache } from '../../../backend/tuning/feature-cache.ts';
import { featureSource, type Windows } from '../../../backend/tuning/features.ts';
import { windowsAt } from '../../../backend/tuning/trainer-order.ts';
import { freshFolder } from '../children.ts';
import { defaultExits, openStep, sayExits } from '../contestants/tuning.ts';
import { bigModel, shippedModel } from '../material.ts';
import { alternate, speedup, timed } from '../measure.ts';
import { promptOf } from '../prompts.ts';
import { both, figures } from '../report.ts';
import { progress, type Section } from './section.ts';

const batch = 4;
const tokens = 512;
const windowCount = 16;

const first = 'first epoch';
const later = 'later epoch';

export const epochsSection: Section = {
  title: 'An epoch from the feature cache',
  takes: 'about three minutes',
  async run({ rounds, threads }) {
    const file = bigModel() ?? shippedModel;
    const model = openModel(file);
    const exits = defaultExits(model);
    const opened = await openStep(model, exits, { batch, tokens, threads });
    const windows = plainWindows(promptOf(loadTokenizer(file), windowCount * tokens + 1, 0));
    /** Both epochs over a new cache: what the first one writes, the later one reads. */
    const turn = async (): Promise<Record<string, number>> => {
      const root = freshFolder('features');
      const key = { backbone: model.name, data: windows.hash, windows: windowCount, tokens };
      const cache = openFeatureCache({ root, key });
      const source = featureSource({ model: opened.features, windows, cache });
      const epoch = async (number: number): Promise<void> => {
        for (let at = 0; at < windowCount; at += batch) {
          const order = windowsAt(1, windowCount, number * windowCount + at, batch);
          await opened.step.update(await source.batch(order), opened.settings);
        }
      };
      try {
        return { [first]: await timed(() => epoch(0)), [later]: await timed(() => epoch(1)) };
      } finally {
        cache.close();
        rmSync(root, { recursive: true, force: true });
      }
    };
    try {
      const name = `two epochs of ${windowCount * tokens} tokens`;
      const measured = await alternate([{ name, turn }], rounds, progress(name, rounds));
      const [one, two] = [measured.get(first)!, measured.get(later)!];
      const ratio = speedup(two, one);
      const row = (label: string, of: typeof one): string[] => [
        label,
        both(of),
        figures((windowCount * tokens) / of.median),
      ];
      return {
        goals: [
          {
            what: 'tuning, a later epoch ÷ the first, default exits',
            value: ratio.median,
            unit: '×',
            bound: 'at least',
            limit: 2,
          },
        ],
        tables: [
          {
            caption: `${model.name}: ${both(ratio)} × as fast from the cache`,
            columns: ['', 's', 'tokens/s'],
            rows: [row(first, one), row(later, two)],
          },
        ],
        notes: [
          `${windowCount} windows of ${tokens} tokens, batches of ${batch}, exits ${sayExits(exits)}; the first epoch writes the cache as it goes, and each round begins with an empty one.`,
        ],
        measurements: [one, two],
      };
    } finally {
      await opened.dispose();
      model.close();
    }
  },
};

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
