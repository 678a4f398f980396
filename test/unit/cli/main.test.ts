/** The program as a shell sees it: words in, text and exit code out. */
import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { commandNames, optionTables, flagName } from '../../../protocol/options/options.ts';
import { bundled } from '../../support/bundled.ts';

const root = path.resolve(import.meta.dirname, '../../..');
const scratch = mkdtempSync(path.join(os.tmpdir(), 'early-exit-cli-'));

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function earlyExit(words: readonly string[], input = ''): Promise<Outcome> {
  const env = { ...process.env, NO_COLOR: '1', EARLY_EXIT_CACHE: path.join(scratch, 'cache') };
  const child = spawn(process.execPath, [bundled('cli'), ...words], { cwd: root, env });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  child.stdin.end(input);
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

function config(text: string): string {
  const file = path.join(scratch, `${Math.random()}.json`);
  writeFileSync(file, text);
  return file;
}

describe('early-exit', () => {
  it('shows its commands, and is misused without one', async () => {
    const help = await earlyExit(['--help']);
    expect(help).toMatchObject({ code: 0, err: '' });
    for (const name of [...commandNames, 'start', 'lsp']) expect(help.out).toMatch(new RegExp(`^  ${name} `, 'm'));
    expect(await earlyExit([])).toMatchObject({ code: 2, out: '', err: help.out });
    for (const word of ['--version', 'version']) expect((await earlyExit([word])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('explains a command in two levels: what most need, and all', async () => {
    const [usual, all, flag] = await Promise.all([
      earlyExit(['help', 'tune']),
      earlyExit(['help', 'tune', 'all']),
      earlyExit(['tune', '--help']),
    ]);
    expect(usual).toEqual(flag);
    const options = (text: string): number => text.match(/^ {2}--/gm)!.length;
    expect(options(usual.out)).toBeLessThanOrEqual(12);
    expect(options(all.out)).toBeGreaterThan(40);
    expect(usual.out).toMatch(/^\d+ more options: early-exit tune --help all$/m);
    expect(usual.out).not.toContain('--weight-decay');
    expect(all.out).toContain('Tuning, advanced');
    const wrong = await earlyExit(['help', 'tun']);
    expect([wrong.code, wrong.err]).toEqual([2, 'error There is no command tun. Did you mean early-exit tune?\n']);
  });

  it.each(commandNames)('documents every option of %s', async (name) => {
    const { code, out } = await earlyExit([name, '--help', 'all']);
    expect(code).toBe(0);
    for (const [option, { default: value }] of Object.entries(optionTables[name])) {
      expect(out).toContain(value === true ? flagName(option).replace('--', '--no-') : flagName(option));
    }
    expect(out).toContain(`  early-exit ${name}`);
    // A server runs until it is stopped.
    expect(out).toContain(name === 'serve' ? '0    stopped (Ctrl-C)' : '130  interrupted');
    expect(out.includes('130  ')).toBe(name !== 'serve');
  });

  it('says of start what it takes where nothing is given, and of a flag that turns off what that is', async () => {
    const { out } = await earlyExit(['start', '--help', 'all']);
    expect(out).toContain('[quick]');
    expect(out).toMatch(/\[start(-\d+)?\.exits\]/);
    expect(out).toMatch(/--no-feature-cache\n\s+Turns off: Keep hidden states/);
  });

  it.each([
    [['tun'], 'error There is no command tun. Did you mean early-exit tune?\n'],
    [['tune', '--epoch', '3'], 'error tune has no option --epoch. Did you mean --epochs?\n'],
    [['generate'], 'error generate needs a prompt. Give --prompt TEXT, or --prompt - for standard input.\n'],
    [['evaluate', '--threads', 'all'], 'error --threads must be a whole number from 0 to 1024, not "all".\n'],
    [['generate', '--json=maybe'], 'error --json takes no value. Write --json alone, or leave it out.\n'],
    [
      ['lsp', '--bogus'],
      'error lsp has no option --bogus. It speaks on standard input and output: start it with --stdio alone, or with --clientProcessId PID beside it.\n',
    ],
    [
      ['generate', '--prompt', 'x', '--mode', 'fats'],
      'error --mode must be one of auto, lossless, fast, full, not "fats". Did you mean fast?\n',
    ],
    [['generate', '--candidates', '100'], 'error --candidates must be a whole number from 0 to 5, not 100.\n'],
    [['generate', '--stop', ''], 'error --stop must be texts that are not empty, not "".\n'],
    [['list', '--config', 'none.json'], 'error list has no option --config. See early-exit list --help all.\n'],
    [['start', '--resume'], 'error start has no option --resume. See early-exit start --help all.\n'],
    [
      ['start', '--continue-pretraining', 'a'],
      'error start has no option --continue-pretraining. See early-exit start --help all.\n',
    ],
    [
      ['evaluate', '--data', 'protocol/**/*.ts', '--ways', '0.9'],
      'error --ways is for judged tasks. Name them with --tasks, or leave it out.\n',
    ],
    [['serve', '--threshold', '5'], 'error --threshold must be from 0 to 1 under the policy confidence, not 5.\n'],
    [['start', '--json'], 'error start has no option --json. Did you mean --on?\n'],
  ])('refuses %j', async (words, err) => {
    expect(await earlyExit(words)).toEqual({ code: 2, out: '', err });
  });

  it('names the config file in what is wrong with it', async () => {
    const broken = config('{"learningRate": }');
    expect((await earlyExit(['tune', '--config', broken])).err).toContain(`error ${broken} is not JSON: `);
    // As an editor on Windows writes it, with a byte order mark.
    const wrong = config('\uFEFF{"learningRate": 5}');
    expect(await earlyExit(['tune', '--config', wrong])).toEqual({
      code: 2,
      out: '',
      err: `error learningRate in ${wrong} must be a number from 0 to 1, not 5.\n`,
    });
    const unknown = config('{"$schema": "x", "learnRate": 5}');
    expect((await earlyExit(['tune', '--config', unknown])).err).toBe(
      `error learnRate in ${unknown} is no option of tune. Did you mean learningRate?\n`,
    );
    expect((await earlyExit(['tune', '--config', path.join(scratch, 'none.json')])).err).toMatch(
      /none.json cannot be read/,
    );
    expect((await earlyExit(['tune', '--config', config('[]')])).err).toContain('must hold one JSON object of options');
    const resuming = config('{"resume": true}');
    expect(await earlyExit(['start', '--config', resuming])).toEqual({
      code: 2,
      out: '',
      err: `error resume in ${resuming} is no option of start. Leave it out.\n`,
    });
  });
});
