/** Scores the exits of a checkpoint on text, and what each threshold would save. */
import { plural } from '../../protocol/plural.ts';
import type { EvaluateEvent } from '../../protocol/events.ts';
import type { EvaluateOptions } from '../../protocol/options/options.ts';
import { openHeldOut } from '../evaluation/scores.ts';
import { sweep } from '../evaluation/by-threshold.ts';
import { exitCut } from '../exits/architectures.ts';
import { finalCut } from '../model/spec.ts';
import { placeOn } from '../devices/fallback.ts';
import { chooseDevice } from '../devices/devices.ts';
import { needsOf } from '../devices/fit.ts';
import { noExits } from '../runtime/open.ts';
import { featureSource } from '../features/features.ts';
import { closeAll, type Close } from './opening/closing.ts';
import { featureCache, inStreamOrder, lazyFeatureModel, scorers, windowOptions } from './opening/backbone.ts';
import { identify, openWithTokenizer, readExits } from './opening/opened.ts';
import { measuredText } from './calibrating/measured-text.ts';
import { counting, readyEvent } from './reporting.ts';
import { findText, readText, windowsOf } from './text.ts';

/** @throws UserError for a model, checkpoint or text that cannot be used; the signal's reason if it was aborted. */
export async function* evaluate(options: EvaluateOptions, signal: AbortSignal): AsyncGenerator<EvaluateEvent, void> {
  const found = findText(options.data);
  yield { type: 'phase', phase: 'load', detail: options.model };
  const { model, tokenizer } = openWithTokenizer(options.model);
  const closing: Close[] = [() => model.close()];
  try {
    const { spec } = model;
    const tuned = options.exits === null ? null : await readExits(options.exits, { model }, signal);
    const loaded = tuned ?? noExits;
    const device = await chooseDevice(
      { ...options, whole: true },
      needsOf(model, options.precision === 'exact', loaded),
      signal,
    );
    const warnings: string[] = [];
    const running = {
      placement: placeOn(device, (message) => void warnings.push(message)),
      options: windowOptions(options),
    };
    const exits = inStreamOrder(loaded.specs);
    yield readyEvent(model, exits, device.name);

    const { text, part, warnings: mistaken } = measuredText(options, tuned?.tuning ?? {});
    for (const message of mistaken) yield { type: 'warning', message };
    const sets = yield* readText(found, text, tokenizer, spec, [part], signal);
    closing.push(() => sets.close());
    const windows = windowsOf(sets, part, options.evaluationTokens);
    const cache = featureCache(spec, (await identify(model, signal)).sha256, windows, running);
    closing.push(() => cache.close());
    const backbone = lazyFeatureModel(model, [...exits.map(exitCut), finalCut(spec)], running);
    closing.push(() => backbone.dispose());

    yield {
      type: 'phase',
      phase: 'features',
      detail: `${plural(windows.count, 'window')} of ${plural(windows.tokens, 'token')}`,
    };
    const source = featureSource({ model: backbone, windows, cache });
    const opening = openHeldOut({ spec, source, exits, openScorer: scorers(model, running), batch: options.batchSize });
    const heldOut = yield* counting('features', 'batches', opening, signal);
    if (exits.length > 0) yield { type: 'phase', phase: 'evaluate', detail: plural(exits.length, 'exit') };
    const scoring = heldOut.evaluate(loaded.parameters);
    const { targets, records, scores } = yield* counting('evaluate', 'batches', scoring, signal);
    for (const message of warnings) yield { type: 'warning', message };
    yield {
      type: 'evaluated',
      tokens: targets.length,
      scores: [...scores],
      sweep: exits.length > 0 ? sweep(records) : [],
    };
  } finally {
    await closeAll(closing);
  }
}
