/** Texts for translators: those that the extension and its webviews show through `l10n.t` and `t`. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { commands } from '../extension/commands.ts';

const call = /\b(?:l10n\.)?t\(\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")/g;

/** By their English text, as in `l10n/bundle.l10n.json`. */
export function texts(root: string): Record<string, string> {
  const found = new Set<string>(Object.values(commands).map(({ title }) => title));
  for (const folder of ['extension', 'webview']) {
    const files = readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' });
    for (const name of files.filter((file) => file.endsWith('.ts'))) {
      const source = readFileSync(path.join(root, folder, name), 'utf8');
      for (const [, literal] of source.matchAll(call)) found.add(unquoted(literal!));
    }
  }
  return Object.fromEntries([...found].sort().map((text) => [text, text]));
}

/** The value of a string literal of TypeScript, which here has no escapes but of quotes and backslashes. */
const unquoted = (literal: string): string => literal.slice(1, -1).replaceAll(/\\(.)/g, '$1');
