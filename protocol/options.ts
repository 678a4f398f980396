/**
 * The options of each command: tables made of the groups, the types they give, and the one function that turns an unknown
 * record (flags, a config file, settings) into typed options. Parsed here, trusted inside.
 */
import { userError, type ErrorCode } from './errors.ts';
import { nearest } from './nearest.ts';
import {
  checkpointOptions,
  dataOptions,
  decodingOptions,
  deviceOptions,
  doctorOptions,
  evaluationOptions,
  exitDeviceOptions,
  exitsOptions,
  modelOptions,
  settingGroups,
  tuningOptions,
} from './options-groups.ts';
import type { Option } from './options-kinds.ts';

export type OptionTable = Readonly<Record<string, Option<unknown>>>;
export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Option<infer Value> ? Value : never;
};

export const optionTables = {
  tune: {
    ...modelOptions,
    ...exitsOptions,
    ...dataOptions,
    ...tuningOptions,
    ...deviceOptions,
    ...exitDeviceOptions,
  },
  evaluate: {
    ...modelOptions,
    ...checkpointOptions,
    ...dataOptions,
    ...evaluationOptions,
    ...deviceOptions,
  },
  generate: {
    ...modelOptions,
    ...checkpointOptions,
    ...decodingOptions,
    seed: dataOptions.seed,
    ...deviceOptions,
  },
  doctor: { ...doctorOptions },
} as const satisfies Readonly<Record<string, OptionTable>>;

export type CommandName = keyof typeof optionTables;
export const commandNames = Object.keys(optionTables) as CommandName[];

export interface CommandOptions {
  readonly tune: OptionValues<(typeof optionTables)['tune']>;
  readonly evaluate: OptionValues<(typeof optionTables)['evaluate']>;
  readonly generate: OptionValues<(typeof optionTables)['generate']>;
  readonly doctor: OptionValues<(typeof optionTables)['doctor']>;
}
export type TuneOptions = CommandOptions['tune'];
export type EvaluateOptions = CommandOptions['evaluate'];
export type GenerateOptions = CommandOptions['generate'];
export type DoctorOptions = CommandOptions['doctor'];

/** What each preset of `tune` sets where it is not given. */
export const presets = {
  quick: { minutes: 1, fitTokens: 20_000, evaluationTokens: 8_192 },
  standard: { minutes: 10, fitTokens: 80_000, evaluationTokens: 16_384 },
  thorough: { minutes: 60, fitTokens: 400_000, evaluationTokens: 65_536 },
} as const satisfies Readonly<Record<TuneOptions['preset'], Partial<TuneOptions>>>;

/** How an option is called where its value came from: `--learning-rate` or `earlyExit.tuning.learningRate`. */
export interface Origin {
  readonly code: ErrorCode;
  name(option: string): string;
}

export const flagName = (option: string): string =>
  `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

export const flagOrigin: Origin = { code: 'bad-argument', name: flagName };
export const configOrigin = (file: string): Origin => ({
  code: 'bad-config',
  name: (option) => `${option} in ${file}`,
});

/**
 * Checks every value of `given` and fills in presets and defaults. Throws a UserError that names the option, what it must
 * be and what it was; unknown names are refused with the nearest one.
 */
export function parseOptions<Name extends CommandName>(
  command: Name,
  given: Readonly<Record<string, unknown>>,
  origin: Origin = flagOrigin,
): CommandOptions[Name] {
  const table: OptionTable = optionTables[command];
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(table, name)) throw unknownOption(command, name, origin);
  }
  const preset: Readonly<Record<string, unknown>> = presetOf(command, given, origin);
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) {
    const value = [given[name], preset[name]].find((each) => each !== undefined);
    values[name] = readOption(name, option, value === undefined ? option.default : value, origin);
  }
  const parsed = values as unknown as CommandOptions[Name];
  checkTogether(command, parsed, origin);
  return parsed;
}

/** The values of `earlyExit.*` that a command takes; `get` answers undefined where a setting was not touched. */
export function optionsFromSettings<Name extends CommandName>(
  command: Name,
  get: (setting: string) => unknown,
): CommandOptions[Name] {
  const given: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(optionTables[command] as OptionTable)) {
    const setting = settingName(option, name);
    const value = setting === null ? undefined : get(setting);
    if (value !== undefined) given[name] = value;
  }
  return parseOptions(command, given, {
    code: 'bad-config',
    name: (name) => settingName((optionTables[command] as OptionTable)[name], name) ?? name,
  });
}

/** Full name of an option's setting, such as `earlyExit.tuning.learningRate`; null where it is none. */
export function settingName(option: Option<unknown> | undefined, name: string): string | null {
  if (!option || option.scope === null) return null;
  for (const group of settingGroups) {
    const found = (group.options as OptionTable)[name];
    if (found === option) return ['earlyExit', ...(group.prefix ? [group.prefix] : []), name].join('.');
  }
  return null;
}

function unknownOption(command: string, name: string, origin: Origin): Error {
  const names = Object.keys(optionTables[command as CommandName]);
  const near = nearest(name, names);
  return userError(
    origin.code,
    `${origin.name(name)} is no option of ${command}.`,
    near === null ? `See early-exit ${command} --help.` : `Did you mean ${origin.name(near)}?`,
  );
}

function readOption(name: string, option: Option<unknown>, value: unknown, origin: Origin): unknown {
  const read = option.read(value);
  if (read.ok) return read.value;
  throw userError(origin.code, `${origin.name(name)} must be ${read.expected}, not ${JSON.stringify(value)}.`);
}

/** Values of the chosen preset, less the limits where the user set one. */
function presetOf(
  command: CommandName,
  given: Readonly<Record<string, unknown>>,
  origin: Origin,
): Partial<TuneOptions> {
  if (command !== 'tune') return {};
  const { preset } = optionTables.tune;
  const name = readOption('preset', preset, given['preset'] ?? preset.default, origin) as TuneOptions['preset'];
  const { minutes, ...rest } = presets[name];
  const limited = ['steps', 'epochs'].some((limit) => (given[limit] ?? null) !== null);
  return limited ? rest : { minutes, ...rest };
}

function checkTogether(command: CommandName, options: CommandOptions[CommandName], origin: Origin): void {
  const refuse = (sentence: string): never => {
    throw userError(origin.code, sentence);
  };
  if (command === 'tune') {
    const { crossEntropy, distillation, exits, exitWeights, minutes, steps, epochs } = options as TuneOptions;
    if (minutes === null && steps === null && epochs === null) {
      const [m, s, e] = ['minutes', 'steps', 'epochs'].map((name) => origin.name(name));
      refuse(`A run needs an end: give ${m}, ${s} or ${e}.`);
    }
    if (crossEntropy + distillation === 0) {
      refuse(
        `${origin.name('crossEntropy')} and ${origin.name('distillation')} are both 0: there is nothing to learn.`,
      );
    }
    const count = exits.kind === 'placed' ? exits.exits.length : null;
    const lists = exitWeights.kind === 'static' ? [exitWeights.weights] : [exitWeights.from, exitWeights.to];
    const wrong = lists.find((list) => count !== null && list.length !== 1 && list.length !== count);
    if (wrong) refuse(`${origin.name('exitWeights')} has ${wrong.length} weights for ${count} exits.`);
  }
  if (command === 'generate') {
    const { policy, threshold, system, chat } = options as GenerateOptions;
    const largest = Math.max(threshold.all, ...Object.values(threshold.exits));
    if ((policy === 'confidence' || policy === 'margin') && largest > 1) {
      refuse(`${origin.name('threshold')} must be from 0 to 1 under the policy ${policy}, not ${largest}.`);
    }
    if (system !== null && !chat) refuse(`${origin.name('system')} needs ${origin.name('chat')}.`);
  }
}
