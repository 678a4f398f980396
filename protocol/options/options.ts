/**
 * The options of each command: tables made of the groups, the types they give, and the one function that turns an unknown
 * record (flags, a config file, settings) into typed options. Parsed here, trusted inside.
 */
import { userError, type ErrorCode } from '../errors.ts';
import { shownValue } from '../foreign.ts';
import { nearest } from '../nearest.ts';
import {
  optionTables,
  type CommandName,
  type CommandOptions,
  type GenerateOptions,
  type OptionTable,
  type TuneOptions,
} from './commands.ts';
import { settingGroups } from './groups.ts';
import type { Option } from './kinds.ts';
import type { ExitWeights } from './notations.ts';
import { plural } from '../plural.ts';
import { policies } from '../policies.ts';

export * from './commands.ts';

/** The options that each preset of `tune` sets, unless they are given; its minutes, see `lengthOf`. */
export const presets = {
  quick: { minutes: 1, fitTokens: 20_000, evaluationTokens: 8_192 },
  standard: { minutes: 10, fitTokens: 80_000, evaluationTokens: 16_384 },
  thorough: { minutes: 60, fitTokens: 400_000, evaluationTokens: 65_536 },
} as const satisfies Readonly<Record<TuneOptions['preset'], Partial<TuneOptions>>>;

/** The name of an option in the place where its value came from: `--learning-rate` or `earlyExit.tuning.learningRate`. */
export interface Origin {
  readonly code: ErrorCode;
  name(option: string, command: CommandName): string;
}

export const flagName = (option: string): string =>
  `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The flag that changes an option's default: with `--no-` if the default is true. */
export const changingFlag = (name: string, { type, default: usual }: Option<unknown>): string =>
  type === 'boolean' && usual === true ? `--no-${flagName(name).slice(2)}` : flagName(name);

export const flagOrigin: Origin = { code: 'bad-argument', name: flagName };
export const configOrigin = (file: string): Origin => ({
  code: 'bad-config',
  name: (option) => `${option} in ${file}`,
});
export const settingOrigin: Origin = {
  code: 'bad-config',
  name: (option, command) => settingName((optionTables[command] as OptionTable)[option], option) ?? option,
};

/**
 * Checks every value of `given` and fills in presets and defaults. Throws a UserError that names the option, its allowed values and the
 * given one; unknown names are refused with the nearest one.
 */
export function parseOptions<Name extends CommandName>(
  command: Name,
  given: Readonly<Record<string, unknown>>,
  origin: Origin = flagOrigin,
): CommandOptions[Name] {
  const table: OptionTable = optionTables[command];
  const { code } = origin;
  const name: Namer = (option) => origin.name(option, command);
  for (const option of Object.keys(given)) {
    if (!Object.hasOwn(table, option)) throw unknownOption(command, option, code, name);
  }
  const preset: Readonly<Record<string, unknown>> = command === 'tune' ? presetOf(given, code, name) : {};
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const value = [given[key], preset[key]].find((each) => each !== undefined);
    values[key] = readOption(option, value === undefined ? option.default : value, code, name(key));
  }
  const parsed = values as unknown as CommandOptions[Name];
  if (command === 'tune') checkTune(parsed as TuneOptions, code, name);
  if (command === 'generate') checkGenerate(parsed as GenerateOptions, code, name);
  if (command === 'serve') checkThreshold(parsed as CommandOptions['serve'], code, name);
  return parsed;
}

/** The same options with some values replaced, checked by the same rules. */
export function changeOptions<Name extends CommandName>(
  command: Name,
  options: CommandOptions[Name],
  given: Readonly<Record<string, unknown>>,
  origin: Origin,
): CommandOptions[Name] {
  const table: OptionTable = optionTables[command];
  const name: Namer = (option) => origin.name(option, command);
  const values = Object.entries(given)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]) => [key, readOption(table[key]!, value, origin.code, name(key))]);
  const changed: CommandOptions[Name] = { ...options, ...(Object.fromEntries(values) as Record<string, unknown>) };
  if (command === 'generate') checkGenerate(changed as unknown as GenerateOptions, origin.code, name);
  return changed;
}

/** Full name of an option's setting, such as `earlyExit.tuning.learningRate`; null if it is no setting. */
export function settingName(option: Option<unknown> | undefined, name: string): string | null {
  if (!option || option.scope === null) return null;
  for (const group of settingGroups) {
    const found = (group.options as OptionTable)[name];
    if (found === option) return ['earlyExit', ...(group.prefix ? [group.prefix] : []), name].join('.');
  }
  return null;
}

/** `name` as its origin calls it, within one command. */
type Namer = (option: string) => string;

function unknownOption(command: CommandName, option: string, code: ErrorCode, name: Namer): Error {
  const near = nearest(option, Object.keys(optionTables[command]));
  const called = name(option);
  const suggestion = near !== null && called.startsWith('--') ? name(near) : near;
  const wayOut = suggestion === null ? `See early-exit ${command} --help all.` : `Did you mean ${suggestion}?`;
  return userError(code, `${called} is no option of ${command}.`, wayOut);
}

function readOption(option: Option<unknown>, value: unknown, code: ErrorCode, name: string): unknown {
  const read = option.read(value);
  if (read.ok) return read.value;
  // A single flag is a list with one entry; the entry itself makes a clearer message.
  const found: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
  const wayOut = typeof read.guess === 'string' ? `Did you mean ${read.guess}?` : undefined;
  throw userError(code, `${name} must be ${read.expected}, not ${shownValue(found)}.`, wayOut);
}

/** Values of the chosen preset, without its limits if the user set one. */
function presetOf(given: Readonly<Record<string, unknown>>, code: ErrorCode, name: Namer): Partial<TuneOptions> {
  const { preset } = optionTables.tune;
  const chosen = given['preset'] === undefined ? preset.default : given['preset'];
  const read = readOption(preset, chosen, code, name('preset')) as TuneOptions['preset'];
  const { fitTokens, evaluationTokens } = presets[read];
  return { fitTokens, evaluationTokens };
}

/** The length of a new run. */
export interface RunLength {
  /** Null if steps or epochs end the run. */
  readonly minutes: number | null;
  /** Whether it takes longer if the minutes are too few for calibrated exits: they are the preset's, not the user's. */
  readonly isLeast: boolean;
}

/** The given minutes; if nothing ends the run, at least those of the preset. */
export function lengthOf({
  minutes,
  steps,
  epochs,
  preset,
}: Pick<TuneOptions, 'minutes' | 'steps' | 'epochs' | 'preset'>): RunLength {
  const isLeast = minutes === null && steps === null && epochs === null;
  return { minutes: isLeast ? presets[preset].minutes : minutes, isLeast };
}

/** @throws UserError if there is neither one weight nor one for each of this number of exits. `name`: of the option, as its origin calls it. */
export function requireWeights(
  weights: ExitWeights,
  exits: number,
  code: ErrorCode = flagOrigin.code,
  name = flagName('exitWeights'),
): void {
  const lists = weights.kind === 'static' ? [weights.weights] : [weights.from, weights.to];
  const wrong = lists.find((list) => list.length !== 1 && list.length !== exits);
  if (wrong) throw userError(code, `${name} has ${plural(wrong.length, 'weight')} for ${plural(exits, 'exit')}.`);
}

function checkTune(options: TuneOptions, code: ErrorCode, name: Namer): void {
  const { crossEntropy, distillation, exits, exitWeights } = options;
  if (crossEntropy + distillation === 0) {
    const both = `${name('crossEntropy')} and ${name('distillation')}`;
    throw userError(code, `${both} are both 0: there is nothing to learn.`);
  }
  if (exits.kind === 'placed') requireWeights(exitWeights, exits.exits.length, code, name('exitWeights'));
}

function checkGenerate(options: GenerateOptions, code: ErrorCode, name: Namer): void {
  const { system, chat } = options;
  checkThreshold(options, code, name);
  if (system !== null && !chat) throw userError(code, `${name('system')} needs ${name('chat')}.`);
}

type Ruled = Pick<GenerateOptions, 'policy' | 'threshold'>;

function checkThreshold({ policy, threshold }: Ruled, code: ErrorCode, name: Namer): void {
  const largestGiven = Math.max(threshold.all ?? 0, ...Object.values(threshold.exits));
  const rule = policies[policy];
  if (rule.setBy === 'threshold' && largestGiven > rule.largest) {
    throw userError(
      code,
      `${name('threshold')} must be from 0 to ${rule.largest} under the policy ${policy}, not ${largestGiven}.`,
    );
  }
}
