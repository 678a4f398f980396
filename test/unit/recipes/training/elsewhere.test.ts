/** A run on PyTorch as it is prepared and completed here, without PyTorch; its ranks: test/distributed. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TuneEvent } from '../../../../protocol/events.ts';
import { parseOptions } from '../../../../protocol/options/options.ts';
import { saveCalibration } from '../../../../backend/checkpoint/checkpoint.ts';
import { recipes } from '../../../../backend/recipes/index.ts';
import { requireState } from '../../../../backend/recipes/training/lean.ts';
import { shortRun, tinyModel, tuned } from '../../../distributed/ranks.ts';
import { finished } from '../../cluster/reports.ts';

describe('a run on PyTorch', () => {
  let root: string;
  let options: Record<string, unknown>;
  const cacheBefore = process.env['EARLY_EXIT_CACHE'];
  const out = (name: string): string => path.join(root, `${name}.exits`);
  const jobOf = (name: string): string => path.join(out(name), 'distributed');
  beforeAll(async () => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'elsewhere-'));
    process.env['EARLY_EXIT_CACHE'] = path.join(root, 'cache');
    options = { ...shortRun, steps: 1, model: tinyModel(root, 'llama-untied') };
    await tuned({ ...options, out: out('here') });
  }, 60_000);
  afterAll(() => {
    if (cacheBefore === undefined) delete process.env['EARLY_EXIT_CACHE'];
    else process.env['EARLY_EXIT_CACHE'] = cacheBefore;
    fs.rmSync(root, { recursive: true, force: true });
  });

  it('keeps the engine here out of its folder', async () => {
    await tuned({ ...options, out: out('kept'), on: 'slurm' });
    for (const resume of [false, true])
      await expect(tuned({ ...options, resume, out: out('kept') })).rejects.toThrow(
        `A job of PyTorch is under way in ${out('kept')}.`,
      );
    expect(fs.existsSync(path.join(jobOf('kept'), 'job.json'))).toBe(true);
  });

  it('is refused on a mesh that cannot compute it before its text is read', async () => {
    const phases: string[] = [];
    const given = parseOptions('tune', { ...options, out: out('mesh'), on: 'slurm', mesh: 'pp=9' });
    const running = (async (): Promise<void> => {
      for await (const event of recipes.tune(given, new AbortController().signal))
        if (event.type === 'phase') phases.push(event.phase);
    })();
    await expect(running).rejects.toThrow('4 layers cannot be cut into 9 stages.');
    expect(phases).toEqual(['load']);
  });

  it('is not resumed with another text, and says so before there is a job', async () => {
    const given = { out: out('here'), resume: true, on: 'slurm', steps: 1, data: ['protocol/shapes.ts'] };
    await expect(tuned(given)).rejects.toThrow('The text is not the text that the run in');
    expect(fs.existsSync(jobOf('here'))).toBe(false);
  });

  it('keeps the state of finished exits until its job has begun with it', async () => {
    fs.cpSync(out('here'), out('finished'), { recursive: true });
    const promise = { measure: 'agreement', limit: 0.99 } as const;
    const found = { promise, brought: null, fastest: 'full', deferred: 'exact', thresholds: {}, gates: {} } as const;
    saveCalibration(out('finished'), { step: 1, ...found });
    await tuned({ out: out('finished'), resume: true, on: 'slurm', steps: 1 });
    expect(fs.existsSync(path.join(jobOf('finished'), 'job.sh'))).toBe(true);
    expect(() => requireState(out('finished'))).not.toThrow();
  });

  it('says at the end that its fit has made no memories', async () => {
    const warnings = (events: readonly TuneEvent[]): string[] =>
      events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
    const ended = async (name: string, initialise: string): Promise<TuneEvent[]> => {
      fs.cpSync(out('here'), out(name), { recursive: true });
      const info = path.join(out(name), 'exits.json');
      const text = fs.readFileSync(info, 'utf8').replace('"initialise": "copy"', `"initialise": "${initialise}"`);
      fs.writeFileSync(info, text);
      fs.mkdirSync(jobOf(name));
      fs.writeFileSync(path.join(jobOf(name), 'running.json'), '{"kind":"slurm"}');
      fs.writeFileSync(path.join(jobOf(name), 'events.jsonl'), `${finished(false)}\n`);
      return tuned({ out: out(name), resume: true, on: 'slurm' });
    };
    const fitted = await ended('fitted', 'fit');
    expect(fitted.at(-1)).toMatchObject({ type: 'tuned', stopped: false });
    expect(warnings(fitted)).toEqual([expect.stringMatching(/^PyTorch fits no memories of exits and no trust/)]);
    expect(warnings(await ended('copied', 'copy'))).toEqual([]);
  });
});
