/** Ways of writing the same answers: full depth, lossless, as calibrated, and leaving at a threshold. */
import { parseOptions, type EvaluateOptions, type GenerateOptions } from '../../../protocol/options/options.ts';
import type { WayRequest } from '../../../protocol/options/tasks.ts';
import { fullDepth } from '../../../protocol/tasks.ts';
import type { Mode } from '../../../protocol/trace.ts';
import { usedExits } from '../../checkpoint/calibration.ts';
import { enabledExits, modeWarning } from '../../decoding/leaving/mode.ts';
import { judgesPrompt } from '../../decoding/prompts/prompt-reading.ts';
import { sequenceOptions, type OpenModel } from '../../decoding/sequence-options.ts';
import type { SequenceOptions } from '../../decoding/sequence.ts';

export interface Way {
  /** `full`, `lossless`, `calibrated` (leaving at the calibrated thresholds), or a threshold such as `0.85`. */
  readonly name: string;
  /** How a text is written; its length and its end are the task's. */
  readonly how: SequenceOptions;
  /** Exits that decide or draft. */
  readonly uses: (exit: string) => boolean;
}

type Given = Pick<EvaluateOptions, 'ways' | 'exits' | 'model' | 'deferred'>;

export interface FoundWays {
  /** Full depth first. */
  readonly ways: readonly Way[];
  readonly warnings: readonly string[];
}

/** Without exits the ways are full depth, and lossless with drafts from the text; a warning names those that were asked for, too. */
export function findWays(options: Given, open: OpenModel): FoundWays {
  const layers = open.model.spec.layers.length;
  const warnings: string[] = [];
  const way = (name: string, given: Record<string, unknown>): Way => {
    const { exits, model, deferred } = options;
    const wayOptions: GenerateOptions = parseOptions('generate', { exits, model, deferred, ...given });
    return { name, how: sequenceOptions(wayOptions, open), uses: enabledExits(wayOptions, open.calibration, layers) };
  };
  const found = [way(fullDepth, { mode: 'full' })];
  const leaving = options.ways.filter(({ kind }) => kind !== 'lossless');
  if (options.exits === null && leaving.length > 0 && isNamed(options.ways))
    warnings.push(`Without exits there is no way ${leaving.map(nameOf).join(' or ')}. Name some with --exits.`);
  for (const request of options.ways) {
    if (request.kind === 'lossless') found.push(way('lossless', { mode: 'lossless' }));
    else if (options.exits === null) continue;
    else if (request.kind === 'threshold')
      found.push(way(nameOf(request), { mode: 'fast', threshold: String(request.threshold) }));
    else if (open.calibration === null) warnings.push(notCalibrated);
    else if (usedExits(open.calibration).length === 0) warnings.push(noneUsed);
    else {
      const { exits, deferred } = options;
      found.push(way('calibrated', { mode: 'fast' }));
      const warning = modeWarning(parseOptions('generate', { exits, deferred, mode: 'fast' }), open.calibration);
      if (warning !== null) warnings.push(warning);
      if (open.calibration.fastest !== 'fast') warnings.push(notUsual(open.calibration.fastest));
    }
  }
  return { ways: found, warnings };
}

/**
 * The order in which the ways answer a task, so that its prompt is read once: first those that compare exits with the full model within
 * it, since another's reading of the prompt would not do for them.
 */
export const inReadingOrder = (ways: readonly Way[]): Way[] =>
  [...ways].sort((a, b) => Number(judgesPrompt(b.how)) - Number(judgesPrompt(a.how)));

const nameOf = (request: WayRequest): string =>
  request.kind === 'threshold' ? String(request.threshold) : request.kind;

/** Whether the user may have asked for these: they are not those that the command tries by itself. */
const isNamed = (ways: readonly WayRequest[]): boolean =>
  JSON.stringify(ways) !== JSON.stringify(parseOptions('evaluate', {}).ways);

const notCalibrated =
  'The exits are not calibrated, so the way “calibrated” is left out. early-exit calibrate finds thresholds with a promise.';

const noneUsed =
  'Calibrating found no exit that saves time within its promise. The way “calibrated” is left out, since it would be full depth.';

const notUsual = (fastest: Mode): string =>
  `Calibrating found that ${fastest} is faster here, so generate uses that by default. The way “calibrated” still leaves early, at the calibrated thresholds.`;
