/** Writes the reports of a run for TensorBoard, too: a file for each part of the run, in the folder of its exits. */
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import type { EvaluationEvent, ExitScore, StepEvent, TuneEvent } from '../../../protocol/events.ts';
import { openForWriting, writeWhole, writing } from '../../system/files.ts';
import { fileHead, scalarRecord } from '../../formats/tfevents.ts';

/**
 * Passes on the events of a run. The file begins with its first figures, when its folder exists; `now`: milliseconds since 1970.
 * @throws UserError if the file cannot be written.
 */
export async function* forTensorboard(
  run: AsyncGenerator<TuneEvent, void>,
  directory: string,
  now: () => number = Date.now,
): AsyncGenerator<TuneEvent, void> {
  let file: EventFile | null = null;
  try {
    for await (const event of run) {
      if (event.type === 'step' || event.type === 'evaluation') {
        const wallTime = now() / 1000;
        if (file === null) {
          const path = join(directory, `events.out.tfevents.${Math.floor(now())}.early-exit`);
          file = { path, descriptor: writing(path, () => openForWriting(path, 'a')) };
          append(file, fileHead(wallTime, event.step));
        }
        append(file, scalarRecord({ wallTime, step: event.step, scalars: scalarsOf(event) }));
      }
      yield event;
    }
  } finally {
    if (file !== null) closeSync(file.descriptor);
  }
}

interface EventFile {
  readonly path: string;
  readonly descriptor: number;
}

const append = ({ path, descriptor }: EventFile, bytes: Uint8Array): void =>
  writing(path, () => writeWhole(descriptor, bytes));

/** Figures by tag, those of one kind in one group. */
export function scalarsOf(event: StepEvent | EvaluationEvent): Record<string, number> {
  if (event.type === 'evaluation') {
    const each = (kind: string, value: (score: ExitScore) => number): [string, number][] =>
      event.scores.map((score) => [`held out ${kind}/${score.exit}`, value(score)]);
    return Object.fromEntries([
      ...each('loss', ({ loss }) => loss),
      ...each('agreement', ({ agreement }) => agreement),
      ...each('accuracy', ({ accuracy }) => accuracy),
    ]);
  }
  const { loss, losses, gaps = {}, gradientNorms, learningRate, tokens, tokensPerSecond } = event;
  const each = (kind: string, values: Readonly<Record<string, number>>): [string, number][] =>
    Object.entries(values).map(([exit, value]) => [`${kind}/${exit}`, value]);
  return Object.fromEntries([
    ['run/loss', loss],
    ['run/learning rate', learningRate],
    ['run/tokens', tokens],
    ['run/tokens a second', tokensPerSecond],
    ...each('loss', losses),
    ...each('gap', gaps),
    ...each('gradient norm', gradientNorms),
  ]);
}
