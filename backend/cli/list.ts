/** `early-exit list`: the models, exits and runs on this machine, with their speed. */
import { existsSync } from 'node:fs';
import { broughtText } from '../../protocol/brought.ts';
import { bytesText } from '../../protocol/bytes-text.ts';
import { shippedModel } from '../../protocol/options/groups.ts';
import { promiseText } from '../../protocol/options/promise.ts';
import { plural } from '../../protocol/plural.ts';
import { jsonLine, shown } from '../../protocol/shown.ts';
import { exitsAtHand, modelsAtHand, type ExitsAtHand, type ModelAtHand } from '../recipes/at-hand/at-hand.ts';
import { exitsFolders } from '../recipes/at-hand/catalogue.ts';
import { lastExits } from '../recipes/at-hand/last-used.ts';
import { resolveModel } from '../recipes/at-hand/shipped-model.ts';
import { INTERRUPTED, type Command } from './command.ts';
import { parseFlags } from './flags.ts';
import { commandHelp, type CommandHelp } from './help.ts';
import { commandHere, resumeLine, shorter } from './draw/naming.ts';
import { percent, table } from './draw/table.ts';
import type { Stream } from './draw/terminal.ts';

const help: CommandHelp = {
  name: 'list',
  usage: '[--json]',
  summary: 'Models, exits and runs on this machine, with the speed that exits bring.',
  description:
    'Lists the models that other programs and this one have on this machine, the exits below this folder and those used last anywhere, with what their calibration brings, and runs that can go on.',
  examples: [
    ['early-exit list', 'look'],
    ['early-exit list --json', 'an object a line, for a program'],
  ],
};

export const listCommand: Command = {
  help,
  table: {},
  common: ['--json', '--help'],
  async run(words, { terminal, signal }) {
    const { out } = terminal;
    const flags = parseFlags(help.name, this.table, words, undefined, this.common);
    if (flags.help !== null) {
      out.write(commandHelp(out, help, {}));
      return 0;
    }
    const models = await modelsAtHand(resolveModel(shippedModel));
    const below = await exitsFolders([process.cwd()]);
    const last = lastExits().filter((folder) => existsSync(folder));
    const exits = [...new Set([...below, ...last])].map(exitsAtHand).sort((a, b) => b.at - a.at);
    if (signal.aborted) return INTERRUPTED;
    out.write(flags.json ? listLines(models, exits) : listText(out, models, exits));
    return 0;
  },
};

function listLines(models: readonly ModelAtHand[], exits: readonly ExitsAtHand[]): string {
  const of = (type: string) => (each: object) => `${jsonLine({ type, ...each })}\n`;
  return [...models.map(of('model')), ...exits.map(of('exits'))].join('');
}

/** A table of models and one of exits, then how to resume each run. `now` in milliseconds since 1970. */
export function listText(
  stream: Stream,
  models: readonly ModelAtHand[],
  exits: readonly ExitsAtHand[],
  now: number = Date.now(),
): string {
  const { bold, dim, cyan } = stream.colours;
  const aligns = ['left', 'right', 'left', 'left', 'left'] as const;
  const rows = models.map(({ name, reference, bytes, where }) => [
    shown(name),
    bytesText(bytes),
    where === 'ships' ? 'ships with early-exit' : where,
    dim(reference === name ? '' : shown(shorter(reference))),
  ]);
  const lines = [`\n${bold('Models')}\n`, table(rows, aligns)];
  if (exits.length === 0)
    return [...lines, `\nNo exits here yet: ${cyan(`${commandHere()} tune`)} makes some.\n`].join('');
  const rowsOfExits = exits.map((each) => [
    shown(shorter(each.directory)),
    bytesText(each.bytes),
    age(now - each.at),
    shown(each.model),
    brings(each),
  ]);
  lines.push(`\n${bold('Exits')}\n`, table(rowsOfExits, aligns));
  const runs = exits.filter(({ run }) => run !== null);
  if (runs.length > 0) lines.push(`\n${bold('Runs that can go on')}\n`);
  for (const { directory, run } of runs)
    lines.push(
      `  ${shown(shorter(directory))}, after ${plural(run!.step, 'update')} in ${plural(Math.round(run!.minutes), 'minute')}: ` +
        `${cyan(resumeLine(directory))}\n`,
    );
  return lines.join('');
}

/** What exits bring, in a clause. */
function brings({ exits, agreement, calibration, problem }: ExitsAtHand): string {
  if (problem !== null) return shown(problem);
  const names = exits.join(', ');
  if (calibration !== null) return `${names}: ${calibrated(calibration)}`;
  const learned = agreement === null ? '' : `, agree on ${percent(agreement, 0)} of tokens at best`;
  return `${names}: not calibrated${learned}`;
}

function calibrated({ fastest, promise, brought }: NonNullable<ExitsAtHand['calibration']>): string {
  if (brought === null && fastest === 'lossless') return 'leaving early does not pay here, lossless does';
  if (brought === null && fastest === 'full') return 'nothing is faster than full depth here';
  const how = fastest === 'fast' ? 'leave early' : `${fastest} by default; --mode fast leaves early`;
  return `${how}, promised ${promiseText(promise)}${brought === null ? '' : `: ${broughtText(brought)}`}`;
}

/** 5 minutes, 3 hours, 12 days. */
function age(milliseconds: number): string {
  const minutes = Math.max(0, milliseconds) / 60_000;
  if (minutes < 90) return `${plural(Math.round(minutes), 'minute')} old`;
  const hours = minutes / 60;
  return hours < 36 ? `${plural(Math.round(hours), 'hour')} old` : `${plural(Math.round(hours / 24), 'day')} old`;
}
