/** The scripts of shells, and what bash makes of one. */
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { commands } from '../../../backend/cli/commands.ts';
import { completionScript, shells } from '../../../backend/cli/completion.ts';
import { flagName, optionTables } from '../../../protocol/options/options.ts';
import { file, temporaryFolder } from '../formats/fixtures.ts';

const has = (program: string): boolean => spawnSync(program, ['-c', 'true']).status === 0;

/** What bash offers for a line whose last word is being typed. */
function offered(...words: string[]): string[] {
  const script = `${completionScript(['bash'], commands)}
COMP_WORDS=(early-exit ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
_early_exit; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.split('\n').filter(Boolean);
}

describe.runIf(has('bash'))('bash', () => {
  test.each([
    [['ev'], ['evaluate']],
    [
      ['generate', '--mo'],
      ['--model', '--mode'],
    ],
    [
      ['generate', '--mode', ''],
      ['auto', 'lossless', 'fast', 'full'],
    ],
    [['generate', '--mode', 'l'], ['lossless']],
    [['generate', '--mode', '=', 'l'], ['lossless']],
    [
      ['generate', '--mode', '='],
      ['auto', 'lossless', 'fast', 'full'],
    ],
    [['generate', '--model', 'x'], []],
    [['tune', '--no-f'], ['--no-feature-cache']],
    [['completion', 'f'], ['fish']],
    [
      ['list', '--'],
      ['--json', '--help'],
    ],
    [['start', '--res'], []],
    [['help', 'dem'], []],
    [['help', 'doc'], ['doctor']],
    [['tun', '--'], []],
  ])('%j → %j', (words, expected) => {
    expect(offered(...words)).toEqual(expected);
  });
});

test.each(shells)('%s knows every command and every option', (shell) => {
  const script = completionScript([shell], commands);
  for (const { help } of commands) expect(script).toContain(help.name);
  for (const [name, { default: value }] of Object.entries(optionTables.tune)) {
    const flag = value === true ? flagName(name).replace('--', '--no-') : flagName(name);
    expect(script).toContain(shell === 'fish' ? ` -l ${flag.slice(2)}` : flag);
  }
});

test('zsh completes files where a command takes them, each of several, and values behind =', () => {
  const script = completionScript(['zsh'], commands);
  const lineOf = (command: string): string => script.split('\n').find((line) => line.startsWith(`    ${command})`))!;
  for (const command of ['sweep', 'report']) expect(lineOf(command)).toContain(`_arguments '*:file:_files'`);
  expect(lineOf('tune')).toMatch(/'\*--data=\[.*?\]:\*-\*:value:_files'/);
  expect(lineOf('generate')).toMatch(/'--mode=\[.*?\]:value:\(auto lossless fast full\)'/);
});

test.runIf(has('zsh'))('zsh can read its script', () => {
  const script = `compdef() { :; }\n${completionScript(['zsh'], commands)}`;
  expect(spawnSync('zsh', ['-n', '-c', script], { encoding: 'utf8' }).stderr).toBe('');
});

test.runIf(has('zsh'))('zsh is answered at once by a script that it loads on demand', () => {
  const folder = temporaryFolder();
  file(folder, '_early-exit', completionScript(['zsh'], commands));
  const about = 'compdef() { :; }; _describe() { print offered; }; CURRENT=2';
  const asked = `fpath=('${folder}' $fpath); autoload -Uz _early-exit; ${about}; _early-exit; _early-exit`;
  expect(spawnSync('zsh', ['-f', '-c', asked], { encoding: 'utf8' }).stdout).toBe('offered\noffered\n');
});

test('another shell is refused with the nearest', () => {
  expect(() => completionScript(['bsh'], commands)).toThrow(
    'completion takes one of bash, zsh, fish, powershell, not bsh.',
  );
});
