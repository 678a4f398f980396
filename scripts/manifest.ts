/** Writes what the extension contributes into package.json; `--check` only says whether it is stale. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format } from 'prettier';
import { activationEvents, capabilities, contributions } from '../extension/contributions.ts';

const file = path.resolve(import.meta.dirname, '../package.json');
const before = readFileSync(file, 'utf8');
const manifest = JSON.parse(before) as Record<string, unknown>;
Object.assign(manifest, {
  main: './dist/extension.cjs',
  categories: ['Machine Learning', 'AI', 'Visualization', 'Programming Languages'],
  activationEvents,
  capabilities,
  contributes: contributions(),
});
const after = await format(JSON.stringify(manifest), { parser: 'json-stringify', printWidth: 120 });
if (after !== before && process.argv.includes('--check')) {
  console.error('package.json is stale: run npx tsx scripts/manifest.ts.');
  process.exitCode = 1;
} else if (after !== before) writeFileSync(file, after);
