/** lm-evaluation-harness against the server: its log-likelihoods are those of `evaluate` (skipped where no Python with lm_eval is here). */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { loadTokenizer } from '../../../backend/data/tokenizer/tokenizer.ts';
import { openModel } from '../../../backend/model/open.ts';
import { finalCut } from '../../../backend/model/spec.ts';
import { openExitScorer, openFeatureModel } from '../../../backend/runtime/open.ts';
import { pythonWith } from '../../support/python.ts';
import { servedFiles, serveHere } from '../../support/served.ts';

const python = pythonWith('lm_eval', 'tenacity', 'aiohttp', 'datasets');
const task = 'docs/lm-eval';

interface Sample {
  readonly doc: { readonly before: string; readonly line: string };
  readonly filtered_resps: readonly (readonly [string | number, unknown])[];
}

test.skipIf(python === null)(
  'a task of the repository has the log-likelihoods of evaluate',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'early-exit-'));
    const place = await servedFiles(folder);
    const server = await serveHere(place, { precision: 'exact', parallel: 4 });
    try {
      await server.loaded;
      const base = `base_url=${server.url}/v1/completions,model=served-model,tokenizer=${place.model}`;
      const given = ['--model', 'local-completions', '--tasks', 'early_exit_lines', '--include_path', '.'];
      const how = ['--model_args', `${base},tokenizer_backend=huggingface,num_concurrent=4,max_length=512`];
      const out = join(folder, 'out');
      await promisify(execFile)(python!, ['-m', 'lm_eval', ...given, ...how, '--output_path', out, '--log_samples'], {
        cwd: resolve(task),
        env: { ...process.env, HF_HOME: join(folder, 'hub'), HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: '1' },
        maxBuffer: 2 ** 26,
      });
      const samples = readdirSync(out, { recursive: true, encoding: 'utf8' })
        .filter((file) => /samples_.*\.jsonl$/.test(file))
        .flatMap((file) => readFileSync(join(out, file), 'utf8').split('\n').filter(Boolean))
        .map((line) => JSON.parse(line) as Sample);
      expect(samples).toHaveLength(readFileSync(join(task, 'lines.jsonl'), 'utf8').trim().split('\n').length);
      const likelihood = await evaluated(place.model);
      for (const { doc, filtered_resps: said } of samples)
        expect(Math.abs(Number(said[0]![0]) - (await likelihood.of(doc.before, `\n${doc.line}`)))).toBeLessThan(1e-3);
      await likelihood.close();
      expect(server.defects).toEqual([]);
    } finally {
      await server.close();
      rmSync(folder, { recursive: true });
    }
  },
  300_000,
);

/** The log-likelihood of a text behind another, as `evaluate` scores the final exit. */
async function evaluated(path: string) {
  const model = openModel(path);
  const tokenizer = loadTokenizer(path);
  const backbone = await openFeatureModel(model, [finalCut(model.spec)]);
  const scorer = await openExitScorer(model, null);
  return {
    async of(before: string, text: string): Promise<number> {
      const ids = tokenizer.encode(before + text);
      const from = tokenizer.encode(before).length;
      const [states] = await backbone.features(Int32Array.from(ids), 1, ids.length);
      const { loss } = await scorer.score(states!, [...ids.slice(1), 0], 1, ids.length);
      return -loss.slice(from - 1, ids.length - 1).reduce((sum, each) => sum + each, 0);
    },
    async close(): Promise<void> {
      for (const each of [backbone, scorer]) await each.dispose();
      model.close();
    },
  };
}
