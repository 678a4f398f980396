/** Draws a calibration: the threshold of each exit and what it brings. */
import type { CalibrateEvent } from '../../protocol/events.ts';
import { openProgress } from './progress.ts';
import { count, percent, table } from './table.ts';
import type { Terminal } from './terminal.ts';

export async function showCalibrate(events: AsyncIterable<CalibrateEvent>, terminal: Terminal): Promise<void> {
  const { out, err } = terminal;
  const { bold, dim } = out.colours;
  const progress = openProgress(err);
  try {
    for await (const event of events) {
      if (event.type === 'saved') continue;
      if (event.type !== 'calibrated') {
        progress.show(event);
        continue;
      }
      progress.end();
      const rows = event.exits.map(({ exit, threshold, milliseconds }) => [
        exit,
        threshold === null ? dim('not asked') : threshold.toFixed(4),
        dim(`${milliseconds.toFixed(2)} ms`),
      ]);
      out.write(`\n${bold('Thresholds')} ${dim(`· ${count(event.tokens)} tokens`)}\n`);
      out.write(table([['exit', 'threshold', 'a reading'].map(dim), ...rows]));
      const { exits, fast, lossless } = event.speedups;
      const facts = [
        `agreement ${bold(percent(event.tested, 2))} where ${percent(event.agreement, 1)} was asked`,
        `mean layer ${event.meanLayer.toFixed(1)} of ${event.layers}`,
        `${bold(`${exits.toFixed(2)} ×`)} as fast as full depth here`,
      ];
      out.write(`\n${facts.join(dim(' · '))}\n`);
      const drafted = `${bold(`${fast.toFixed(2)} ×`)} in mode fast, ${bold(`${lossless.toFixed(2)} ×`)} in mode lossless`;
      out.write(`with drafts of the text, as generate has them: ${drafted}\n`);
    }
  } finally {
    progress.status.clear();
  }
}
