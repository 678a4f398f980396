/** The short calibration at the end of a tuning run, on its own held-out text, in the remaining time. */
import { UserError, describeError } from '../../../protocol/errors.ts';
import type { TuneEvent } from '../../../protocol/events.ts';
import { parseOptions, type TuneOptions } from '../../../protocol/options/options.ts';
import { promiseText } from '../../../protocol/options/promise.ts';
import type { TimeLimit } from '../../evaluation/calibration/calibration-texts.ts';
import { calibrate } from '../calibrate.ts';

/** In fewer seconds not even the model opens: nothing is tried. */
const fewestSeconds = 5;

/**
 * Calibrates the exits in `directory` if the time suffices for the promise, and reports if they do not. An error here is a warning, since
 * the run is complete. If it is cancelled, it ends early and stores nothing.
 */
export async function* calibrateShort(
  options: TuneOptions,
  directory: string,
  time: TimeLimit,
  signal: AbortSignal,
): AsyncGenerator<TuneEvent, void> {
  if (signal.aborted) return;
  if (time.most < fewestSeconds) {
    const left = Math.max(0, Math.round(time.most));
    yield { type: 'warning', message: `The exits are not calibrated: ${left} s are left, which is too short for it.` };
    return;
  }
  const { model, data, device, gpuLayers, threads } = options;
  // The same text in windows that are long enough for a prompt and what follows it.
  const sequenceLength = Math.max(options.sequenceLength, parseOptions('calibrate', {}).sequenceLength);
  const { certainty, calibrationTokens } = options;
  const promise = { promise: options.promise && promiseText(options.promise), certainty, calibrationTokens };
  const place = { device, gpuLayers, threads };
  const request = parseOptions('calibrate', { model, exits: directory, data, sequenceLength, ...promise, ...place });
  try {
    for await (const event of calibrate(request, signal, time)) {
      if (event.type !== 'ready' && event.type !== 'saved') yield event;
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof UserError)) throw error;
    const message = `The exits are not calibrated: ${describeError(error)}`;
    // The run has read this text already, so all that can be wrong with it now is its length.
    yield { type: 'warning', message, ...(error.code === 'bad-data' && { lacks: 'text' }) };
  }
}

/** If no calibration follows a run, and a promise was given, reports that. */
export function* warnUncalibrated(options: TuneOptions): Generator<TuneEvent, void> {
  const { promise, certainty, calibrationTokens } = options;
  if ([promise, certainty, calibrationTokens].every((each) => each === null)) return;
  const message =
    'This run does not calibrate its exits, so --promise, --certainty and --calibration-tokens have no effect: run early-exit calibrate afterwards.';
  yield { type: 'warning', message };
}
