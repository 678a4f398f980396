/** `npm run docs`: writes what is generated from the options, and from runs that are kept, into docs/. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { configSchema, settingsPage } from '../protocol/options/documents.ts';
import { commandNames } from '../protocol/options/options.ts';
import { guide } from './guide.ts';
import { pictures } from './guide-pictures.ts';
import { keptIn } from './kept-studies.ts';
import { picture, pictureName } from './quality-speed.ts';
import { readResults } from '../test/bench/report.ts';

const root = path.resolve(import.meta.dirname, '..');
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

await mkdir(path.join(root, 'docs/schemas'), { recursive: true });
await writeFile(path.join(root, 'docs/settings.md'), settingsPage());
for (const command of commandNames) {
  const file = path.join(root, `docs/schemas/${command}.schema.json`);
  const style = await resolveConfig(file);
  await writeFile(file, await format(json(configSchema(command)), { ...style, filepath: file }));
}
const page = path.join(root, 'docs/guide.md');
await writeFile(page, await format(guide(keptIn(root)), { ...(await resolveConfig(page)), filepath: page }));
for (const { name, drawing } of pictures(keptIn(root))) await writeFile(path.join(root, 'docs/images', name), drawing);
const { exits } = readResults(path.join(root, 'docs'));
const overSpeed = exits ? picture(exits) : null;
if (overSpeed !== null) await writeFile(path.join(root, 'docs/images', pictureName), overSpeed);
