/** Tables of exits: losses before and after, scores, threshold sweeps. */
import type { ExitScore, SweepRow } from '../../../protocol/events.ts';
import { exitColours } from './exit-colours.ts';
import { figures, percent, table } from './table.ts';
import type { Stream } from './terminal.ts';

const exitsOf = (scores: readonly ExitScore[]): string[] =>
  scores.map(({ exit }) => exit).filter((exit) => exit !== 'final');

/** Held-out loss and agreement of each exit before and after, the final exit's below. */
export function beforeAfter(stream: Stream, before: readonly ExitScore[], after: readonly ExitScore[]): string {
  const { dim, bold, green } = stream.colours;
  const colours = exitColours(stream, exitsOf(after));
  const rows = after.map((score) => {
    const old = before.find(({ exit }) => exit === score.exit);
    const final = score.exit === 'final';
    const loss = score.loss.toFixed(2);
    return [
      colours.paint(score.exit, score.exit),
      String(score.layer),
      final || !old ? '' : old.loss.toFixed(2),
      old && score.loss < old.loss && !final ? green(bold(loss)) : bold(loss),
      final || !old ? '' : percent(old.agreement, 0),
      final ? '' : bold(percent(score.agreement, 0)),
      percent(score.accuracy, 0),
    ];
  });
  const head = ['exit', 'layer', 'loss before', 'after', 'agreement before', 'after', 'accuracy'];
  return table([head.map(dim), ...rows]);
}

/** Larger perplexities are shown as this, which is beyond any vocabulary. */
const farOff = 1_000_000;

/** Loss, perplexity, accuracy and agreement of each exit. */
export function scoreTable(stream: Stream, scores: readonly ExitScore[]): string {
  const { dim, bold } = stream.colours;
  const colours = exitColours(stream, exitsOf(scores));
  const rows = scores.map(({ exit, layer, loss, perplexity, accuracy, agreement }) => [
    colours.paint(exit, exit),
    String(layer),
    bold(loss.toFixed(3)),
    perplexity < farOff ? figures(perplexity) : 'far off',
    percent(accuracy),
    percent(agreement),
  ]);
  return table([['exit', 'layer', 'loss', 'perplexity', 'accuracy', 'agreement'].map(dim), ...rows]);
}

/** A row a threshold, with a bar for the share of layers run. */
export function sweepTable(stream: Stream, sweep: readonly SweepRow[]): string {
  const { dim, cyan } = stream.colours;
  const rows = sweep.map(({ threshold, meanLayer, layerShare, agreement }) => [
    threshold.toFixed(2),
    meanLayer.toFixed(2),
    percent(layerShare),
    percent(agreement),
    cyan('▇'.repeat(Math.round(layerShare * 20))),
  ]);
  const aligns = ['left', 'right', 'right', 'right', 'left'] as const;
  return table(
    [['threshold', 'mean layer', 'layers run', 'agreement', 'layers run, of all'].map(dim), ...rows],
    aligns,
  );
}
