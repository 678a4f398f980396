/** What a calibration has kept, as decoding is asked for it. */
import type { Calibration } from '../../backend/checkpoint/checkpoint.ts';
import { gatesOf } from '../../backend/checkpoint/gates.ts';
import { hintsOf } from '../../backend/decoding/leaving/hints.ts';
import { trustOfCalibration } from '../../backend/decoding/leaving/trust.ts';
import type { Candidate } from '../../backend/evaluation/calibration/trial.ts';

export const keptBy = (calibration: Calibration): Candidate => ({
  thresholds: calibration.thresholds,
  gates: gatesOf(calibration),
  hints: hintsOf(calibration),
  trust: trustOfCalibration(calibration),
  remembers: calibration.deferred === 'memory',
  learnedAnswers: calibration.learnedAnswers ?? false,
});
