/** Writes the extension's contributions into package.json, and its texts into l10n/. A test checks both. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format } from 'prettier';
import { texts } from './texts.ts';
import { activationEvents, capabilities, contributions } from '../extension/contributions.ts';

const root = path.resolve(import.meta.dirname, '..');
const file = path.join(root, 'package.json');
const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
Object.assign(manifest, {
  main: './dist/extension.cjs',
  icon: 'extension/media/icon.png',
  l10n: './l10n',
  categories: ['Machine Learning', 'AI', 'Visualization', 'Programming Languages'],
  activationEvents,
  capabilities,
  contributes: contributions(),
});
writeFileSync(file, await format(JSON.stringify(manifest), { parser: 'json-stringify', printWidth: 120 }));
mkdirSync(path.join(root, 'l10n'), { recursive: true });
writeFileSync(path.join(root, 'l10n/bundle.l10n.json'), `${JSON.stringify(texts(root), null, 2)}\n`);
