/** `npm run docs`: writes what is generated from the options into docs/ and the manifest. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { configSchema, manifestConfiguration, settingsPage } from '../protocol/options-documents.ts';
import { commandNames } from '../protocol/options.ts';

const root = path.resolve(import.meta.dirname, '..');
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

await mkdir(path.join(root, 'docs/schemas'), { recursive: true });
await writeFile(path.join(root, 'docs/settings.md'), settingsPage());
for (const command of commandNames) {
  const file = path.join(root, `docs/schemas/${command}.schema.json`);
  const style = await resolveConfig(file);
  await writeFile(file, await format(json(configSchema(command)), { ...style, filepath: file }));
}
const manifestFile = path.join(root, 'package.json');
const manifest = JSON.parse(await readFile(manifestFile, 'utf8')) as { contributes?: Record<string, unknown> };
const contributes = { ...manifest.contributes, configuration: manifestConfiguration() };
await writeFile(manifestFile, json({ ...manifest, contributes }));
