/** Words of a command line → a record of options, by the command's table. Values are read and checked by protocol/options/options.ts. */
import { userError } from '../../protocol/errors.ts';
import { nearest } from '../../protocol/nearest.ts';
import type { Option } from '../../protocol/options/kinds.ts';
import { flagName, type OptionTable } from '../../protocol/options/options.ts';

/** `usual`: the options that most need; `all`: the advanced ones, too. */
export type HelpLevel = 'usual' | 'all';

export interface Flags {
  /** By option name; values as JSON would have them. */
  readonly given: Readonly<Record<string, unknown>>;
  readonly config: string | null;
  readonly json: boolean;
  /** Which help is requested; null for none. */
  readonly help: HelpLevel | null;
}

/** Flags that every command with options takes. */
export const commonFlags = ['--config', '--json', '--help'] as const;
export type CommonFlag = (typeof commonFlags)[number];

/**
 * `positional`: the option whose values are words without a flag; `common`: which of the common flags it takes.
 * @throws UserError that names the flag.
 */
export function parseFlags(
  command: string,
  table: OptionTable,
  words: readonly string[],
  positional?: string,
  common: readonly CommonFlag[] = commonFlags,
): Flags {
  const names = new Map(Object.keys(table).map((name) => [flagName(name), name]));
  const known = [...names.keys(), ...common];
  const given: Record<string, unknown> = {};
  let [config, json, help]: [string | null, boolean, HelpLevel | null] = [null, false, null];
  const rest = [...words];
  while (rest.length > 0) {
    const word = rest.shift()!;
    if (['--help', '-h', '--help=all'].includes(word)) {
      const isAll = word.endsWith('=all') || rest[0] === 'all';
      if (rest[0] === 'all') rest.shift();
      help = isAll ? 'all' : 'usual';
      continue;
    }
    if (/^-[A-Za-z]/.test(word)) throw unknownFlag(command, word, known);
    if (!word.startsWith('--')) {
      const isList = positional !== undefined && table[positional]!.type === 'list';
      if (positional !== undefined && (isList || !(positional in given))) {
        given[positional] = isList ? [...((given[positional] as string[] | undefined) ?? []), word] : word;
        continue;
      }
      throw userError('bad-argument', `${command} does not know what to do with ${JSON.stringify(word)}.`, quoteHint);
    }
    const equals = word.indexOf('=');
    const flag = equals < 0 ? word : word.slice(0, equals);
    const attached = equals < 0 ? null : word.slice(equals + 1);
    const value = (): string => attached ?? takeValue(flag, rest);
    const isCommon = (common as readonly string[]).includes(flag);
    if (isCommon && flag !== '--config') {
      if (attached !== null)
        throw userError(
          'bad-argument',
          flag === '--help' ? `--help takes all or nothing, not ${attached}.` : `${flag} takes no value.`,
          `Write ${flag} alone, or leave it out.`,
        );
      json = true;
    } else if (isCommon) {
      if (config !== null) throw userError('bad-argument', '--config is given twice.');
      config = value();
    } else {
      const negated = flag.startsWith('--no-') ? names.get(`--${flag.slice(5)}`) : undefined;
      const name = names.get(flag) ?? negated;
      const option = name === undefined ? undefined : table[name];
      if (name === undefined || !option || (negated && option.type !== 'boolean'))
        throw unknownFlag(command, flag, known);
      if (negated && attached !== null)
        throw userError('bad-argument', `${flag} takes no value.`, `Write ${flag} alone, or ${flagName(name)}.`);
      if (option.type === 'list') {
        const items = [value()];
        while (attached === null && option.variadic && rest.length > 0 && !endsList(rest[0]!))
          items.push(rest.shift()!);
        given[name] = [...((given[name] as string[] | undefined) ?? []), ...items];
      } else if (name in given) throw userError('bad-argument', `${flagName(name)} is given twice.`);
      else given[name] = option.type === 'boolean' && attached === null ? !negated : readWord(option, value());
    }
  }
  return { given, config, json, help };
}

const quoteHint = 'Texts with spaces need quotes, and every value a flag before it.';

const isFlag = (word: string): boolean => /^--\w/.test(word);

/** A short flag is a value only where a flag needs one. */
const endsList = (word: string): boolean => isFlag(word) || /^-[A-Za-z]/.test(word);

function takeValue(flag: string, rest: string[]): string {
  const value = rest.shift();
  if (value !== undefined && !isFlag(value)) return value;
  const wayOut = value === undefined ? undefined : `If ${value} is the value, write ${flag}=${value}.`;
  throw userError('bad-argument', `${flag} needs a value.`, wayOut);
}

/** A word as JSON would have it; what is not of the option's type stays text, for the message. */
function readWord(option: Option<unknown>, word: string): unknown {
  if (option.optional && word === 'none') return null;
  if (option.type === 'integer' || option.type === 'number') {
    return word.trim() !== '' && Number.isFinite(Number(word)) ? Number(word) : word;
  }
  if (option.type === 'boolean') return word === 'true' ? true : word === 'false' ? false : word;
  return word;
}

/** What other programs call some options. */
const usualElsewhere: Readonly<Record<string, string>> = {
  '-n': '--max-tokens',
  '--n-predict': '--max-tokens',
  '-m': '--model',
  '-p': '--prompt',
  '-t': '--threads',
  '-o': '--out',
  '-s': '--seed',
  '-ngl': '--gpu-layers',
  '--n-gpu-layers': '--gpu-layers',
  '--temp': '--temperature',
  '--api-key-file': '--key-file',
  '--dataset': '--data',
  '--output': '--out',
  '--lr': '--learning-rate',
};

function unknownFlag(command: string, flag: string, known: readonly string[]): Error {
  const usual = usualElsewhere[flag.replace(/=.*/, '')];
  const near = usual !== undefined && known.includes(usual) ? usual : nearest(flag, known);
  const wayOut = near === null ? `See early-exit ${command} --help all.` : `Did you mean ${near}?`;
  return userError('bad-argument', `${command} has no option ${flag}.`, wayOut);
}
