/** A printed command proposes a prompt as the text begins that exits were tuned on. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { firstPrompt } from '../../../../backend/recipes/writing/first-prompt.ts';

function folderOf(files: Record<string, string>): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'first-prompt-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  return folder;
}
const chatLine = JSON.stringify({ messages: [{ role: 'user', content: 'Hello' }] });

test.each([
  ['TypeScript', { 'a.ts': 'let a;', 'b.tsx': 'let b;', 'README.md': '# A' }, 'export function mean(values', false],
  ['Python', { 'a.py': 'a = 1', 'deep/b.py': 'b = 2', 'c.md': '# C' }, 'def mean(values):', false],
  ['chats', { 'chats.jsonl': `${chatLine}\n${chatLine}\n` }, 'Explain closures.', true],
  ['prose', { 'a.md': '# A', 'b.txt': 'Once upon a time', 'c.py': 'c = 3' }, 'The most important', false],
  ['lines of text', { 'texts.jsonl': '{"text": "Es war einmal"}\n' }, 'The most important', false],
  ['lines of Python', { 'texts.jsonl': '{"text": "import os\\n\\ndef f(x):\\n"}\n' }, 'def mean(values):', false],
  [
    'lines of TypeScript',
    { 'texts.jsonl': '{"text": "// a\\nexport const a = 1;\\n"}\n' },
    'export function mean(values',
    false,
  ],
] as const)('%s', (_, files, text, isChat) => {
  expect(firstPrompt([folderOf(files)])).toEqual({ text, isChat });
});

test('a part of a long file has its language', () => {
  const folder = folderOf({ 'long.py': 'x = 1\n'.repeat(2 ** 20) });
  expect(firstPrompt([`${folder}/*.py`])).toEqual({ text: 'def mean(values):', isChat: false });
});

test('files that have gone are no error', () => {
  expect(firstPrompt([path.join(folderOf({}), 'gone/**')])).toEqual({
    text: 'export function mean(values',
    isChat: false,
  });
});
