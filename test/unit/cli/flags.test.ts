import { describe, expect, it } from 'vitest';
import { parseFlags } from '../../../backend/cli/flags.ts';
import { UserError } from '../../../protocol/errors.ts';
import { optionTables } from '../../../protocol/options/options.ts';

const tune = (...words: string[]) => parseFlags('tune', optionTables.tune, words).given;
const generate = (...words: string[]) => parseFlags('generate', optionTables.generate, words).given;

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UserError) return `${error.message} ${error.wayOut ?? ''}`.trim();
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('parseFlags', () => {
  it('reads values by the type of the option', () => {
    expect(
      tune('--learning-rate', '3e-4', '--steps=20', '--exits', '8:mlp,16', '--resume', '--no-feature-cache'),
    ).toEqual({
      learningRate: 3e-4,
      steps: 20,
      exits: '8:mlp,16',
      resume: true,
      featureCache: false,
    });
    expect(tune('--minutes', 'none', '--resume=false')).toEqual({ minutes: null, resume: false });
  });

  it('takes the words that a shell makes of a glob, and repeated lists', () => {
    expect(tune('--data', 'a.ts', 'b.ts', '--data', 'c.ts', '--steps', '1')).toEqual({
      data: ['a.ts', 'b.ts', 'c.ts'],
      steps: 1,
    });
    expect(generate('--prompt', 'a', '--prompt', '-', '--stop=--end')).toEqual({ prompt: ['a', '-'], stop: ['--end'] });
  });

  it('takes no short flag for one of the words of a list', () => {
    const evaluate = (...words: string[]) => parseFlags('evaluate', optionTables.evaluate, words);
    expect(evaluate('--tasks', 'a.jsonl', 'b.jsonl', '-h')).toMatchObject({
      given: { tasks: ['a.jsonl', 'b.jsonl'] },
      help: 'usual',
    });
    expect(refusal(() => tune('--data', 'src', '-o', 'my.exits'))).toBe('tune has no option -o. Did you mean --out?');
    expect(tune('--data', 'src', '-', '!-a')).toEqual({ data: ['src', '-', '!-a'] });
  });

  it('takes no option that the command does not read', () => {
    const evaluate = (...words: string[]) => parseFlags('evaluate', optionTables.evaluate, words);
    expect(refusal(() => evaluate('--seed', '7'))).toMatch(/^evaluate has no option --seed\./);
  });

  it('takes of the common flags those of the command', () => {
    const list = (...words: string[]) => parseFlags('list', {}, words, undefined, ['--json', '--help']);
    expect(list('--json').json).toBe(true);
    expect(refusal(() => list('--config', 'a.json'))).toBe(
      'list has no option --config. See early-exit list --help all.',
    );
  });

  it('leaves what is no number to be refused with its text', () => {
    expect(tune('--batch-size', 'many')).toEqual({ batchSize: 'many' });
    expect(tune('--batch-size', '')).toEqual({ batchSize: '' });
  });

  it('knows the flags of every command', () => {
    expect(parseFlags('tune', optionTables.tune, ['--config', 'a.json', '--json', '-h'])).toEqual({
      given: {},
      config: 'a.json',
      json: true,
      help: 'usual',
    });
    for (const words of [['--help', 'all'], ['-h', 'all'], ['--help=all']])
      expect(parseFlags('tune', optionTables.tune, words).help).toBe('all');
  });

  it('knows what other programs call an option', () => {
    const refused = (...words: string[]) => refusal(() => generate(...words));
    expect(refused('-n', '3')).toBe('generate has no option -n. Did you mean --max-tokens?');
    expect(refused('--temp', '1')).toBe('generate has no option --temp. Did you mean --temperature?');
    expect(refused('-o', 'x')).toBe('generate has no option -o. See early-exit generate --help all.');
    expect(refusal(() => tune('-m', 'x'))).toBe('tune has no option -m. Did you mean --model?');
  });

  it.each([
    [['--learning-rat', '1'], 'tune has no option --learning-rat. Did you mean --learning-rate?'],
    [['--sparsity'], 'tune has no option --sparsity. See early-exit tune --help all.'],
    [['--no-minutes'], 'tune has no option --no-minutes. Did you mean --minutes?'],
    [['--out'], '--out needs a value.'],
    [['--out', '--resume'], '--out needs a value. If --resume is the value, write --out=--resume.'],
    [['--steps', '1', '--steps', '2'], '--steps is given twice.'],
    [['--config', 'a.json', '--config=b.json'], '--config is given twice.'],
    [['--feature-cache', '--no-feature-cache'], '--feature-cache is given twice.'],
    [['--feature-cache', '--feature-cache=false'], '--feature-cache is given twice.'],
    [
      ['--no-feature-cache=true'],
      '--no-feature-cache takes no value. Write --no-feature-cache alone, or --feature-cache.',
    ],
    [
      ['loose'],
      'tune does not know what to do with "loose". Texts with spaces need quotes, and every value a flag before it.',
    ],
  ])('refuses %j', (words, sentence) => {
    expect(refusal(() => tune(...words))).toBe(sentence);
  });
});
