/** Draws a calibration: the threshold of each exit, its gain, and the next commands. */
import { broughtText, busyText } from '../../../protocol/brought.ts';
import type { CalibratedEvent, CalibrateEvent } from '../../../protocol/events.ts';
import type { CalibrateOptions } from '../../../protocol/options/options.ts';
import { shownPromise, type Promised } from '../../../protocol/options/promise.ts';
import { plural } from '../../../protocol/plural.ts';
import { afterCalibration } from './advice.ts';
import { namingOf, writeAdvice } from './naming.ts';
import { drawEvents } from './progress.ts';
import { duration, percent, table } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

export async function showCalibrate(
  events: AsyncIterable<CalibrateEvent>,
  terminal: Terminal,
  { exits, model, data }: Pick<CalibrateOptions, 'exits' | 'model' | 'data'>,
): Promise<void> {
  const { out, err } = terminal;
  await drawEvents(events, err, {
    saved: () => undefined,
    calibrated(event, progress) {
      progress.end();
      out.write(calibrationText(out, event));
      writeAdvice(out, afterCalibration(event, namingOf(exits ?? '', model, data)));
    },
  });
}

/** A row an exit, then agreement and speeds. */
export function calibrationText(stream: Stream, event: CalibratedEvent): string {
  const { bold, dim } = stream.colours;
  const shown = (least: number | null, unused: string): string => (least === null ? dim(unused) : least.toFixed(4));
  const rows = event.exits.map(({ exit, threshold, trust = null, agreement, milliseconds, saves }) => [
    exit,
    shown(threshold, trust === null ? 'not used' : 'not read'),
    shown(trust, 'none'),
    percent(agreement, 0),
    dim(`${milliseconds.toFixed(2)} ms`),
    dim(`${saves.toFixed(2)} ms`),
  ]);
  const head = ['exit', 'threshold', 'trusts hints from', 'agreement', 'reading it takes', 'leaving saves'].map(dim);
  const measured = dim(
    `· ${plural(event.tokens, 'token')}, ${plural(event.texts, 'text')} in turn, ${duration(event.seconds)}`,
  );
  const { exits, fast, lossless } = event.speedups;
  const times = (ratio: number): string => bold(`${ratio.toFixed(2)} ×`);
  const { brought } = event;
  const leaving = [
    `promised ${promisedText(event.promise)}`,
    `mean layer ${event.meanLayer.toFixed(1)} of ${event.layers}`,
    `${times(exits)} full depth by costs`,
  ];
  const busy = brought && busyText(brought);
  return [
    `\n${bold('Thresholds')} ${measured}\n`,
    table([head, ...rows]),
    brought ? `\nexits alone: ${broughtText(brought)}\n${leaving.join(dim(' · '))}\n` : '\n',
    `measured compared with full depth, both with drafts from earlier text: ${brought ? `leaving early ${times(fast)}, ` : ''}lossless ${times(lossless)}; the default mode is now ${bold(event.fastest)}\n`,
    ...(busy === null ? [] : [`${busy}\n`]),
  ].join('');
}

const promisedText = (promise: Promised): string =>
  promise.measure === 'agreement'
    ? `at least ${shownPromise(promise)} of tokens the full model's`
    : `at most ${shownPromise(promise)} a token`;
