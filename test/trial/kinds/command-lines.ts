/** Command lines that no command takes, made of the tables of options: each is refused with a sentence, as wrong use. */
import path from 'node:path';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import type { Option } from '../../../protocol/options/kinds.ts';
import {
  commandNames,
  flagName,
  optionTables,
  type CommandName,
  type OptionTable,
} from '../../../protocol/options/options.ts';
import { judge } from '../judge.ts';
import { shippedModel } from '../material.ts';
import { runProgram } from '../program.ts';
import { alone, failed, pick, type Kind } from '../trial.ts';

const [refused, wrongUse] = [1, 2];

interface Wrong {
  readonly words: readonly string[];
  readonly code: number;
  /** What the sentence must name. */
  readonly names: string;
}

export const commandLines: Kind = {
  name: 'command-lines',
  tries: 'flags that do not exist, values of the wrong kind, out of range, empty, missing; files that are none',
  promise: 'refused with code 2 (what is wrong with a file: 1) and a sentence that names the flag or file',
  attempts: 200,
  inTests: 2,
  lanes: 2,
  open: ({ program }) =>
    Promise.resolve(
      alone(async ({ index, random, folder }) => {
        const { words, code, names } = index < special.length ? special[index]! : wrongLine(random);
        const ended = await runProgram(program, words, { cwd: folder });
        const verdict = judge(ended, [code]);
        if (verdict.verdict === 'failed') return failed(`early-exit ${words.join(' ')}: ${verdict.why}`);
        if (ended.out !== '') return failed(`early-exit ${words.join(' ')} writes to standard output`);
        return ended.err.includes(names) ? verdict : failed(`"${ended.err}" does not name ${names}`);
      }),
    ),
};

const model = shippedModel;
const prompt = ['--prompt', 'let x', '--max-tokens', '2'];
const special: readonly Wrong[] = [
  { words: ['tun'], code: wrongUse, names: 'tune' },
  { words: ['--bogus'], code: wrongUse, names: '--bogus' },
  { words: ['__proto__'], code: wrongUse, names: '__proto__' },
  { words: ['generate'], code: wrongUse, names: '--prompt' },
  { words: ['generate', '--prompt'], code: wrongUse, names: '--prompt' },
  { words: ['generate', '--prompt', '-', '--prompt', '-'], code: wrongUse, names: 'Standard input' },
  { words: ['generate', 'let x'], code: wrongUse, names: 'let x' },
  { words: ['generate', ...prompt, '--json=maybe'], code: wrongUse, names: '--json' },
  { words: ['generate', ...prompt, '--stop', ''], code: wrongUse, names: '--stop' },
  { words: ['generate', ...prompt, '--threads', '1', '--threads', 'x'], code: wrongUse, names: '--threads' },
  { words: ['generate', ...prompt, '--model', 'nowhere/at/all'], code: refused, names: 'nowhere/at/all' },
  { words: ['generate', ...prompt, '--model', 'none.gguf'], code: refused, names: 'none.gguf' },
  { words: ['generate', ...prompt, '--model', '/dev/null'], code: refused, names: '/dev/null' },
  { words: ['generate', ...prompt, '--model', '/'], code: refused, names: '/' },
  { words: ['generate', ...prompt, '--exits', 'none.exits'], code: refused, names: 'none.exits' },
  { words: ['generate', ...prompt, '--exits', path.join(model, 'config.json')], code: refused, names: 'config.json' },
  {
    words: ['generate', ...prompt, '--exits', path.join(model, 'config.json/exits.json')],
    code: refused,
    names: 'exits',
  },
  { words: ['generate', ...prompt, '--chat'], code: refused, names: 'chat template' },
  { words: ['evaluate'], code: refused, names: '**/*' },
  { words: ['evaluate', '--data', 'none-*.ts'], code: refused, names: 'none-*.ts' },
  { words: ['tune', '--data', 'none.ts'], code: refused, names: 'none.ts' },
  { words: ['tune', '--resume', '--out', 'none.exits'], code: refused, names: 'none.exits' },
  { words: ['tune', '--config', 'none.json'], code: wrongUse, names: 'none.json' },
  { words: ['tune', '--config', model], code: wrongUse, names: 'typescript-5m' },
  { words: ['calibrate'], code: wrongUse, names: '--exits' },
  { words: ['lsp', '--bogus'], code: wrongUse, names: '--bogus' },
  { words: ['start', '--json'], code: wrongUse, names: '--json' },
  { words: ['doctor', '--install', 'everything'], code: wrongUse, names: '--install' },
];

function wrongLine(random: Random): Wrong {
  const command = pick(random, commandNames);
  const table: OptionTable = optionTables[command];
  const name = pick(random, Object.keys(table));
  const flag = flagName(name);
  const option = table[name]!;
  const value = wrongValue(option, random);
  // A switch takes no word after it.
  const attached = option.type === 'boolean' || random() < 0.5;
  if (random() < 0.15 || value === null) {
    const unknown = pick(random, [
      `${flag}x`,
      flag.slice(0, -1),
      `-${flag}`,
      flag.slice(1),
      '--',
      '--no-',
      '--=',
      '--__proto__=1',
    ]);
    return { words: [...needed(command), unknown], code: wrongUse, names: unknown.split('=')[0]! };
  }
  return {
    words: [...needed(command), ...(attached ? [`${flag}=${value}`] : [flag, value])],
    code: wrongUse,
    names: flag,
  };
}

const needed = (command: CommandName): string[] => [command, ...(command === 'generate' ? prompt : [])];

/** A value that the option must refuse; null if it takes any text. */
function wrongValue({ type, minimum, maximum }: Option<unknown>, random: Random): string | null {
  const notNumbers = ['', 'x', 'NaN', 'Infinity', '1e999', '0x', '1,5', '--', 'null', '\u001b[31m1'];
  switch (type) {
    case 'integer':
    case 'number': {
      const outside = [
        ...(minimum === null ? [] : [String(minimum - 1), '-1e300']),
        ...(maximum === null ? [] : [String(maximum + 1)]),
      ];
      return pick(random, [...notNumbers, ...outside, ...(type === 'integer' ? ['1.5'] : [])]);
    }
    case 'boolean':
      return pick(random, ['maybe', '', '2', 'null']);
    case 'enum':
      return pick(random, ['', 'none of them', 'toString', '__proto__', '\u001b[31mred']);
    case 'notation':
      return pick(random, ['', ',', ':', '0:', 'x:y:z', '1=2=3', '-1', '..', 'NaN', '8:toString', '=']);
    case 'string':
      return pick(random, ['']);
    case 'list':
      return null;
  }
}
