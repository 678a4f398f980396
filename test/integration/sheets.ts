/**
 * Makes one sheet of each picture's themes and sizes, as docs/first-minutes.md shows them: above in 1280 × 800, below in 800 × 600, from
 * left to right dark, light and high contrast.
 *
 *     tsx test/integration/sheets.ts SUITE FOLDER [NAME …]
 */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { findChromium } from './driver/chromium.ts';

const cache = path.resolve(import.meta.dirname, '../../.cache/integration');
const themes = ['dark', 'light', 'high-contrast'];
/** Width of a picture of 1280 pixels on its sheet; smaller ones in proportion. */
const width = 560;
const small = (width * 800) / 1280;

const [suite, folder, ...wanted] = process.argv.slice(2);
if (suite === undefined || folder === undefined) {
  console.error('Usage: tsx test/integration/sheets.ts SUITE FOLDER [NAME …]');
  process.exit(2);
}
const pictures = path.join(cache, 'screenshots', suite);
const all = (await readdir(pictures)).flatMap((file) => /^(.+)-dark-small\.png$/.exec(file)?.[1] ?? []);

const image = async (name: string, size: number): Promise<string> => {
  const bytes = await readFile(path.join(pictures, `${name}.png`));
  return `<img width="${size}" src="data:image/png;base64,${bytes.toString('base64')}">`;
};
const row = async (name: string, ending: string, size: number): Promise<string> =>
  `<div>${(await Promise.all(themes.map((theme) => image(`${name}-${theme}${ending}`, size)))).join('')}</div>`;

const browser = await chromium.launch({ executablePath: await findChromium(cache) });
try {
  const page = await browser.newPage({ viewport: { width: 3 * width + 32, height: 400 } });
  await mkdir(folder, { recursive: true });
  for (const name of wanted.length > 0 ? wanted : all) {
    const style =
      'body{margin:8px;background:#888}div{display:flex;justify-content:space-around;gap:8px;margin-bottom:8px}';
    await page.setContent(`<style>${style}</style>${await row(name, '', width)}${await row(name, '-small', small)}`);
    await page.screenshot({ path: path.join(folder, `${name}.jpg`), type: 'jpeg', quality: 82, fullPage: true });
    console.log(`${name}.jpg`);
  }
} finally {
  await browser.close();
}
