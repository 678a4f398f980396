/** Calibrates the exits of a checkpoint on text that tuning kept apart. */
import { userError } from '../../protocol/errors.ts';
import type { CalibrateEvent } from '../../protocol/events.ts';
import type { CalibrateOptions } from '../../protocol/options/options.ts';
import { usualPromise } from '../../protocol/options/groups.ts';
import { chooseDevice } from '../devices/devices.ts';
import { needsOf } from '../devices/fit.ts';
import { placeOn } from '../devices/fallback.ts';
import { closeAll, type Close } from './opening/closing.ts';
import { runtimeOptions } from './opening/backbone.ts';
import type { Running } from '../devices/fallback.ts';
import { noTimeLimit } from '../evaluation/calibration/calibration-texts.ts';
import { calibrateExits } from './calibrating/calibrate-exits.ts';
import { passPlace } from './opening/kept-passes.ts';
import { measuredText } from './calibrating/measured-text.ts';
import { readyEvent } from './reporting.ts';
import { openWithTokenizer, readExits, withoutMemory } from './opening/opened.ts';
import { findText, readText, windowsOf } from './text.ts';

/**
 * `time` counts from the call.
 * @throws UserError for a model, checkpoint or text that cannot be used; the signal's reason if it was aborted.
 */
export async function* calibrate(
  options: CalibrateOptions,
  signal: AbortSignal,
  time = noTimeLimit,
): AsyncGenerator<CalibrateEvent, void> {
  const directory = requireExits(options);
  const began = performance.now();
  const found = findText(options.data);
  yield { type: 'phase', phase: 'load', detail: options.model };
  const { model, tokenizer } = openWithTokenizer(options.model);
  const closing: Close[] = [() => model.close()];
  try {
    const exits = await readExits(directory, { model, tokenizer }, signal);
    const device = await chooseDevice(options, needsOf(model, options.precision === 'exact', exits), signal);
    const warnings: string[] = [];
    const running: Running = {
      placement: placeOn(device, (message) => void warnings.push(message)),
      options: runtimeOptions(options),
    };
    yield readyEvent(model, exits.specs, device.name);
    const without = withoutMemory(directory, exits);
    if (without !== null) yield { type: 'warning', message: without };
    const { text, part, warnings: mistaken } = measuredText(options, exits.tuning);
    for (const message of mistaken) yield { type: 'warning', message };
    const sets = yield* readText(found, text, tokenizer, model.spec, [part], signal);
    closing.push(() => sets.close());
    const spent = (performance.now() - began) / 1000;
    const place = passPlace(model, device.name, options);
    const on = { model, tokenizer, running, place, directory, exits, windows: windowsOf(sets, part) };
    const request = {
      promise: options.promise ?? usualPromise.promise,
      certainty: options.certainty ?? usualPromise.certainty,
      tokens: options.calibrationTokens,
      time: { planned: time.planned - spent, most: time.most - spent },
    };
    yield* calibrateExits(on, request, signal);
    for (const message of warnings) yield { type: 'warning', message };
  } finally {
    await closeAll(closing);
  }
}

/** The folder of the exits. @throws UserError if none is named. */
export function requireExits({ exits }: Pick<CalibrateOptions, 'exits'>): string {
  if (exits === null) throw userError('bad-argument', 'There are no exits to calibrate.', 'Name them with --exits.');
  return exits;
}
