/**
 * The examples that help shows, run as a shell would: all of the commands that end by themselves in about a second. Where an example names
 * another model, the one that ships stands in for it, and the exits that ship are `my.exits`.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commands } from '../../../backend/cli/commands.ts';
import { bundled } from '../../support/bundled.ts';
import { shippedModel } from '../../support/golden.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'examples-'));
  cpSync(path.join(shippedModel, 'exits'), path.join(folder, 'my.exits'), { recursive: true });
  const texts = (name: string): void => {
    mkdirSync(path.join(folder, name));
    for (let i = 0; i < 20; i++)
      writeFileSync(path.join(folder, name, `${i}.ts`), `export const value${i} = [${'1, '.repeat(40 + i)}];\n`);
  };
  texts('src');
  texts('other');
  writeFileSync(path.join(folder, 'prompt.txt'), 'export function');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What stands in for models that are not here, and for exits of theirs. */
const standIns: readonly (readonly [named: RegExp, here: string])[] = [
  [/--model \S+/, `--model ${shippedModel}`],
  [/--exit (16|20)\b/, '--exit 10'],
  // It was not taught to chat.
  [/ --chat /, ' '],
];
/** So that an example takes a moment. */
const limits: Readonly<Record<string, string>> = {
  evaluate: '--evaluation-tokens 64 --sequence-length 64',
  generate: '--max-tokens 4',
};
/** Tasks take minutes, as tuning and calibrating do; serve and lsp do not end; the scripts of completion run in its own test. */
const isShort = (line: string): boolean =>
  /early-exit (evaluate|generate|export|import|report|list|doctor)\b/.test(line) &&
  !/--tasks|--install|my\.(tasks|sweep)/.test(line);

const lines = commands.flatMap(({ help }) =>
  help.examples.flatMap(([line]) => (isShort(line) ? [[help.name, line] as const] : [])),
);

test.concurrent.each(lines)('%s: %s', async (name, line) => {
  const words = standIns.reduce((text, [named, here]) => text.replace(named, here), line);
  const [command, redirection] = words.split(/ (?=>)/) as [string, string?];
  const program = `"${process.execPath}" "${bundled('cli')}"`;
  const limited = `${command.replace(/\bearly-exit\b/, program)} ${limits[name] ?? ''}`;
  const { code, out, err } = await shell(redirection === undefined ? limited : `${limited} | cat`);
  expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
  expect(out).not.toBe('');
});

function shell(command: string): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, NO_COLOR: '1', EARLY_EXIT_CACHE: path.join(folder, 'cache') };
  const child = spawn(command, { cwd: folder, env, shell: true });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  child.stdin.end();
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}
