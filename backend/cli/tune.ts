/** Draws a tuning run: a bar with the loss of each exit, a line an evaluation, the table of before and after. */
import type { StepEvent, TuneEvent } from '../../protocol/events.ts';
import { exitColours } from './exit-colours.ts';
import { openProgress } from './progress.ts';
import { beforeAfter } from './scores.ts';
import { count, duration } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

export type Tuned = Extract<TuneEvent, { type: 'tuned' }>;

/** Answers how the run ended; throws what the recipe throws. */
export async function showTune(events: AsyncIterable<TuneEvent>, terminal: Terminal): Promise<Tuned | null> {
  const { out, err } = terminal;
  const { dim, bold } = err.colours;
  const progress = openProgress(err);
  let tuned: Tuned | null = null;
  let stepping = false;
  try {
    for await (const event of events) {
      switch (event.type) {
        case 'phase':
        case 'progress':
          if (stepping && event.phase !== 'tune') progress.showWithin(event);
          else progress.show(event);
          break;
        case 'warning':
        case 'ready':
          progress.show(event);
          break;
        case 'step':
          stepping = true;
          progress.show({ type: 'phase', phase: 'tune', detail: `${count(event.tokens)} tokens` });
          progress.draw(event.step / event.steps, () => stepLine(err, event));
          break;
        case 'evaluation': {
          if (!stepping) progress.end();
          const colours = exitColours(err, Object.keys(lossesOf(event.scores)));
          const losses = event.scores.map(({ exit, loss }) => colours.paint(exit, `${exit} ${loss.toFixed(3)}`));
          const mark = event.best && event.step > 0 ? dim(' best') : '';
          progress.status.say(`  held-out loss at step ${count(event.step)}  ${losses.join('  ')}${mark}`);
          break;
        }
        case 'saved':
          break;
        case 'tuned':
          tuned = event;
      }
    }
    progress.end();
  } finally {
    progress.status.clear();
  }
  if (tuned) {
    out.write(
      `\n${bold('Held-out loss, nats a token')} ${dim(`· step ${count(tuned.step)}, ${duration(tuned.seconds)}`)}\n`,
    );
    out.write(beforeAfter(out, tuned.before, tuned.after));
    out.write(`\nExits in ${bold(tuned.directory)}\n`);
    if (tuned.stopped) err.write(`Stopped early; go on with --out ${tuned.directory} --resume.\n`);
  }
  return tuned;
}

const lossesOf = (scores: readonly { exit: string; loss: number }[]): Record<string, number> =>
  Object.fromEntries(scores.filter(({ exit }) => exit !== 'final').map(({ exit, loss }) => [exit, loss]));

function stepLine(stream: Stream, event: StepEvent): string {
  const colours = exitColours(stream, Object.keys(event.losses));
  const losses = Object.entries(event.losses).map(([exit, loss]) => colours.paint(exit, `${exit} ${loss.toFixed(2)}`));
  return [
    `${duration(event.secondsLeft)} left`,
    `${count(event.tokensPerSecond)} tok/s`,
    `loss ${losses.join(' ')}`,
  ].join(stream.colours.dim(' · '));
}
