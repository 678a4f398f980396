/** Help texts, made from the option tables. */
import { changingFlag, type OptionTable } from '../../protocol/options/options.ts';
import { settingGroups } from '../../protocol/options/groups.ts';
import type { Option } from '../../protocol/options/kinds.ts';
import { plural } from '../../protocol/plural.ts';
import { commonFlags, type CommonFlag, type HelpLevel } from './flags.ts';
import { textWidth } from './draw/table.ts';
import type { Stream } from './draw/terminal.ts';

export interface CommandHelp {
  readonly name: string;
  /** What follows the name; by default `[OPTIONS]`. */
  readonly usage?: string;
  /** The option whose values are words without a flag. */
  readonly positional?: string;
  /** One line. */
  readonly summary: string;
  /** What it does, in a paragraph. */
  readonly description: string;
  /** Command lines with what each does. */
  readonly examples: readonly (readonly [line: string, effect: string])[];
}

/** Defaults of a command that differ from those of its recipe. */
export type Defaults = Readonly<Record<string, string | readonly string[]>>;

const exitCodes = (endsBySignal: boolean): readonly (readonly [code: number, meaning: string])[] => [
  [0, endsBySignal ? 'stopped (Ctrl-C)' : 'done'],
  [1, 'failed; the reason is the last line on standard error'],
  [2, 'wrong use: an option, a value or a config file'],
  ...(endsBySignal ? [] : [[130, 'interrupted (Ctrl-C); what tune has learned is saved'] as const]),
];

const INDENT = 2;
const WIDEST = 100;

/** What `early-exit --help` prints. */
export function overview(stream: Stream, commands: readonly CommandHelp[]): string {
  const { bold, dim } = stream.colours;
  const columns = Math.min(stream.columns, WIDEST);
  const width = Math.max(...commands.map(({ name }) => name.length));
  const dimmed = (sentence: string): string[] => wrap(sentence, columns).map(dim);
  return [
    ...wrap(PURPOSE, columns),
    '',
    bold('Commands'),
    ...commands.flatMap(({ name, summary }) => beside(bold(name.padEnd(width)), width, summary, columns)),
    '',
    ...dimmed('early-exit help COMMAND shows examples and the most used options; with all, every option.'),
    ...dimmed('early-exit version prints the version; early-exit completion bash prints a completion script.'),
    '',
  ].join('\n');
}

const PURPOSE =
  'early-exit tunes early exits on a frozen language model and decodes with them: each token leaves at the first exit that is sure enough.';

/** A term of `width` columns, indented, with a sentence beside it. */
const beside = (term: string, width: number, sentence: string, columns: number): string[] =>
  wrap(sentence, columns - width - 2 * INDENT).map((line, i) => `  ${i === 0 ? term : ' '.repeat(width)}  ${line}`);

/** What `early-exit COMMAND --help` prints. `defaults` are what a command gives its recipe. */
export function commandHelp(
  stream: Stream,
  help: CommandHelp,
  table: OptionTable,
  {
    level = 'usual',
    defaults = {},
    common = commonFlags,
    endsBySignal = false,
  }: {
    readonly level?: HelpLevel;
    readonly defaults?: Defaults;
    readonly common?: readonly CommonFlag[];
    /** It runs until it is stopped. */
    readonly endsBySignal?: boolean;
  } = {},
): string {
  const { bold, dim, cyan } = stream.colours;
  const columns = Math.min(stream.columns, WIDEST);
  const lines = [
    `${bold(`early-exit ${help.name}`)} ${help.usage ?? '[OPTIONS]'}`,
    '',
    ...wrap(help.description, columns),
    '',
    bold('Examples'),
    ...help.examples.flatMap(([line, effect]) => [`  ${cyan(line)}`, `      ${dim(effect)}`]),
  ];
  const drawn = (options: readonly Named[]): string[] =>
    options.flatMap(([name, option]) =>
      optionLines(stream, name, { ...option, default: defaults[name] ?? option.default }, columns),
    );
  const advanced = Object.values(table).filter((option) => option.advanced).length;
  for (const [title, options] of sections(table)) {
    const usual = options.filter(([, option]) => !option.advanced);
    if (usual.length > 0) lines.push('', bold(title), ...drawn(usual));
    const rest = level === 'all' ? options.filter(([, option]) => option.advanced) : [];
    if (rest.length > 0) lines.push('', bold(`${title}, advanced`), ...drawn(rest));
  }
  if (level === 'usual' && advanced > 0)
    lines.push('', dim(`${plural(advanced, 'more option')}: early-exit ${help.name} --help all`));
  if (Object.keys(table).length > 0) lines.push(...commonLines(stream, common, exitCodes(endsBySignal), columns));
  return `${lines.join('\n')}\n`;
}

/** What the common flags take, and do. */
const commonHelp: Readonly<Record<CommonFlag, readonly [flag: string, help: string]>> = {
  '--config': [
    '--config FILE.json',
    'Options from a file, under the names above in camelCase; flags win. Schemas: docs/schemas/.',
  ],
  '--json': ['--json', 'Results on standard output as JSON, one object a line.'],
  '--help': ['-h, --help [all]', ''],
};

/** Of every command that has options. */
const commonLines = (
  { colours: { bold } }: Stream,
  common: readonly CommonFlag[],
  codes: ReturnType<typeof exitCodes>,
  columns: number,
): string[] => [
  '',
  bold('Common'),
  ...common.flatMap((each) => {
    const [flag, help] = commonHelp[each];
    return [`  ${flag}`, ...wrap(help, columns - 3 * INDENT).map((line) => `      ${line}`)];
  }),
  '',
  bold('Exit codes'),
  ...codes.flatMap(([code, meaning]) => beside(String(code).padEnd(3), 3, meaning, columns)),
];

type Named = readonly [name: string, option: Option<unknown>];

/** The options of a table by the groups of the settings: others first, the device last. */
function sections(table: OptionTable): [string, Named[]][] {
  const left = new Map(Object.entries(table));
  const found: [string, Named[]][] = settingGroups.map(({ title, options }) => {
    const names = Object.keys(options).filter((name) => left.get(name) === (options as OptionTable)[name]);
    return [title, names.map((name) => [name, take(left, name)])];
  });
  const device = found.filter(([title]) => title === 'Device');
  const rest = found.filter(([title]) => title !== 'Device');
  const others: [string, Named[]] = ['Options', [...left]];
  return [others, ...rest, ...device].filter(([, options]) => options.length > 0);
}

function take(map: Map<string, Option<unknown>>, name: string): Option<unknown> {
  const option = map.get(name)!;
  map.delete(name);
  return option;
}

function optionLines(stream: Stream, name: string, option: Option<unknown>, columns: number): string[] {
  const { bold, dim } = stream.colours;
  const flag = changingFlag(name, option);
  const negated = flag.startsWith('--no-') ? 'Turns off: ' : '';
  const head = `  ${bold(flag)}${option.placeholder && option.type !== 'boolean' ? ` ${option.placeholder}` : ''}`;
  const text = wrap(`${negated}${option.help}${defaultText(option)}`, columns - 3 * INDENT);
  const values = Object.entries(option.values ?? {}).flatMap(([value, meaning]) =>
    wrap(`${value}: ${meaning}`, columns - 4 * INDENT).map((line) => dim(`        ${line}`)),
  );
  return [head, ...text.map((line) => `      ${line}`), ...values];
}

function defaultText(option: Option<unknown>): string {
  const { default: value, type } = option;
  if (value === null || type === 'boolean' || value === '') return '';
  if (typeof value !== 'object') return ` [${value}]`;
  return value.length === 0 ? '' : ` [${value.join(' ')}]`;
}

/** Breaks at spaces. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && textWidth(line) + 1 + textWidth(word) > columns) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return line ? [...lines, line] : lines;
}
