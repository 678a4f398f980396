/** Draws a tuning run: a bar with the loss of each exit, a line an evaluation, the table of before and after. */
import { plural } from '../../../protocol/plural.ts';
import { bytesText } from '../../../protocol/bytes-text.ts';
import type {
  CalibratedEvent,
  MemoryEvent,
  MinutesEvent,
  Phase,
  PhaseEvent,
  ProgressEvent,
  StepEvent,
  TuneEvent,
} from '../../../protocol/events.ts';
import { afterCalibration, afterTuning } from './advice.ts';
import { calibrationText } from './calibrate.ts';
import { exitColours } from './exit-colours.ts';
import { plannedText } from './planned.ts';
import { drawEvents, type Progress } from './progress.ts';
import { namingOf, resumeLine, writeAdvice } from './naming.ts';
import { beforeAfter } from './scores.ts';
import { count, duration } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

/** How a run ended; `calibrated`: whether it has a calibration. */
export type Tuned = TunedEvent & { readonly calibrated: boolean };
type TunedEvent = Extract<TuneEvent, { type: 'tuned' }>;

/** Ends with the next commands, unless a caller continues. Returns how the run ended; throws what the recipe throws. */
export async function showTune(
  events: AsyncIterable<TuneEvent>,
  terminal: Terminal,
  advises = true,
): Promise<Tuned | null> {
  const { out, err } = terminal;
  const { dim } = err.colours;
  const found: { tuned: TunedEvent | null; calibrated: CalibratedEvent | null } = { tuned: null, calibrated: null };
  let lacksText = false;
  let stepping = false;
  const within = (event: PhaseEvent | ProgressEvent, progress: Progress): void =>
    stepping && isWithin(event.phase) ? progress.showWithin(event) : progress.show(event);
  await drawEvents(events, err, {
    phase: within,
    progress: within,
    warning(event, progress) {
      lacksText ||= event.lacks === 'text';
      progress.show(event);
    },
    minutes(event, progress) {
      progress.end();
      progress.status.say(dim(`  ${planText(event)}`));
    },
    step(event, progress) {
      stepping = true;
      progress.show({ type: 'phase', phase: 'tune', detail: plural(event.tokens, 'token') });
      progress.draw(event.step / event.steps, () => stepLine(err, event));
    },
    evaluation(event, progress) {
      if (!stepping) progress.end();
      const colours = exitColours(err, Object.keys(lossesOf(event.scores)));
      const losses = event.scores.map(({ exit, loss }) => colours.paint(exit, `${exit} ${loss.toFixed(3)}`));
      const mark = event.best && event.step > 0 ? dim(' best') : '';
      progress.status.say(`  held-out loss at step ${count(event.step)}  ${losses.join('  ')}${mark}`);
    },
    memory(event, progress) {
      progress.end();
      progress.status.say(dim(`  ${memoryText(event)}`));
    },
    planned(event, progress) {
      progress.end();
      out.write(plannedText(out, event));
    },
    saved: () => undefined,
    calibrated: (event) => void (found.calibrated = event),
    tuned: (event) => void (found.tuned = event),
  });
  const { tuned, calibrated } = found;
  if (tuned) {
    const { bold } = out.colours;
    const length = out.colours.dim(`· step ${count(tuned.step)}, ${duration(tuned.seconds)}`);
    out.write(`\n${bold('Held-out loss, nats a token')} ${length}\n`);
    out.write(beforeAfter(out, tuned.before, tuned.after));
    out.write(`\n${tuned.whole ? `Model in ${bold(tuned.model)}\n` : ''}Exits in ${bold(tuned.directory)}\n`);
    if (calibrated) out.write(calibrationText(out, calibrated));
    if (advises && !tuned.stopped) {
      const naming = namingOf(tuned.directory, tuned.model, tuned.data);
      const { before, after } = tuned;
      writeAdvice(
        out,
        calibrated ? afterCalibration(calibrated, naming) : afterTuning(before, after, naming, lacksText),
      );
    }
    if (tuned.stopped) err.write(`Stopped before its end; continue with ${resumeLine(tuned.directory)}\n`);
  }
  return tuned && { ...tuned, calibrated: calibrated !== null };
}

/** Evaluations between steps are drawn as part of tuning; later phases have lines of their own. */
const isWithin = (phase: Phase): boolean => phase === 'evaluate' || phase === 'features' || phase === 'save';

const lossesOf = (scores: readonly { exit: string; loss: number }[]): Record<string, number> =>
  Object.fromEntries(scores.filter(({ exit }) => exit !== 'final').map(({ exit, loss }) => [exit, loss]));

/** How the minutes are divided. */
function planText({ minutes, seconds, evaluationTokens, fitTokens, updates }: MinutesEvent): string {
  const parts = [
    `held out ${duration(seconds.evaluation)} (${plural(evaluationTokens, 'token')})`,
    ...(fitTokens > 0 ? [`fit ${duration(seconds.fit)} (${plural(fitTokens, 'token')})`] : []),
    `${plural(updates, 'update')} ${duration(seconds.updates)}`,
    ...(seconds.calibration > 0 ? [`calibration ${duration(seconds.calibration)}`] : []),
  ];
  return `${duration(60 * minutes)}: ${parts.join(' · ')}`;
}

/** How good a memory is on text that it was not fitted on, beside the plain copy. */
function memoryText({ cut, numbers, errors }: MemoryEvent): string {
  const size = `memory at ${cut.replace(/\.end$/, '')}: ${bytesText(bytesOfMemory(numbers))} in memory`;
  if (errors === null) return size;
  const shares = ({ keys, values }: { keys: number; values: number }): string =>
    `${keys.toFixed(2)} and ${values.toFixed(2)}`;
  return `${size} · error of keys and values ${shares(errors.fitted)} (copied: ${shares(errors.copied)})`;
}

/** Blocks of 32 numbers and a scale in 34 bytes. */
const bytesOfMemory = (numbers: number): number => (numbers / 32) * 34;

function stepLine(stream: Stream, event: StepEvent): string {
  const colours = exitColours(stream, Object.keys(event.losses));
  const losses = Object.entries(event.losses).map(([exit, loss]) => colours.paint(exit, `${exit} ${loss.toFixed(2)}`));
  return [
    `${duration(event.secondsLeft)} left`,
    `${count(event.tokensPerSecond)} tok/s`,
    `loss ${losses.join(' ')}`,
  ].join(stream.colours.dim(' · '));
}
