/** Draws what some GPUs would do with a run. */
import type { PlannedEvent } from '../../protocol/events.ts';
import { plural, table } from './table.ts';
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
    [event.whole ? 'the model, gradients, moments' : 'the frozen model', size(backbone)],
    ['exits, gradients, moments', size(exits)],
    [event.whole ? "the head's gradient" : 'frozen heads', size(heads)],
    ['under way (an estimate)', size(working)],
    [bold('together'), `${bold(size(total))}${event.fits ? '' : ' – too much for a card of 80 GB'}`],
  ];
  const hours = [`${figure(event.hours)} hours for a billion tokens`];
  if (event.runHours !== null) hours.push(`${figure(event.runHours)} for this run`);
  return [
    `\n${bold(event.model)} on ${plural(event.gpus, 'GPU')}: --mesh ${event.mesh}\n`,
    `\n${bold('Memory')} ${dim('of the rank that holds most of each')}\n`,
    table(rows),
    `\n${bold('Traffic')} ${dim('an update, of all ranks together')}\n`,
    traffic.length > 0 ? table(traffic.map(([part, bytes]) => [parts[part] ?? part, size(bytes)])) : 'none\n',
    `\n${hours.join(', ')} ${dim('at the speeds that docs/distributed.md assumes')}\n`,
  ].join('');
}

/** 13.5 GB, 820 MB. */
export function size(bytes: number): string {
  for (const [unit, factor] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const)
    if (bytes >= factor) return `${figure(bytes / factor)} ${unit}`;
  return `${bytes} B`;
}

const figure = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2);
