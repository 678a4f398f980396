/** Draws what some GPUs would do with a run. */
import { bytesText, figure } from '../../../protocol/bytes-text.ts';
import type { PlannedEvent } from '../../../protocol/events.ts';
import { plural } from '../../../protocol/plural.ts';
import { table } from './table.ts';
import type { Stream } from './terminal.ts';

const parts: Readonly<Record<string, string>> = {
  hidden: 'hidden states from stage to stage',
  final: 'the final stream, back to stages with exits',
  gradients: 'gradients',
  bookkeeping: 'losses, norms and decisions',
  tensor: 'sums within layers',
  weights: 'sharded weights',
};

export function plannedText(stream: Stream, event: PlannedEvent): string {
  const { bold, dim } = stream.colours;
  const { backbone, exits, heads, working } = event.memory;
  const total = backbone + exits + heads + working;
  const traffic = Object.entries(event.traffic).filter(([, bytes]) => bytes > 0);
  const rows = [
    [event.whole ? 'the model, gradients, moments' : 'the frozen model', bytesText(backbone)],
    ['exits, gradients, moments', bytesText(exits)],
    [event.whole ? "the head's gradient" : 'frozen heads', bytesText(heads)],
    ['under way (an estimate)', bytesText(working)],
    [bold('together'), `${bold(bytesText(total))}${event.fits ? '' : ' – too much for a card of 80 GB'}`],
  ];
  const hours = [`${figure(event.hours)} hours for a billion tokens`];
  if (event.runHours !== null) hours.push(`${figure(event.runHours)} for this run`);
  return [
    `\n${bold(event.model)} on ${plural(event.gpus, 'GPU')}: --mesh ${event.mesh}\n`,
    `\n${bold('Memory')} ${dim('of the rank that holds most of each')}\n`,
    table(rows),
    `\n${bold('Traffic')} ${dim('an update, of all ranks together')}\n`,
    traffic.length > 0 ? table(traffic.map(([part, bytes]) => [parts[part] ?? part, bytesText(bytes)])) : 'none\n',
    `\n${hours.join(', ')} ${dim('at the speeds that docs/distributed.md assumes')}\n`,
  ].join('');
}
