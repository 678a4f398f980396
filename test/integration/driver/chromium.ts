/** A headless Chromium: one that is installed, else the one that an npm package carries. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

export async function findChromium(cache: string): Promise<string> {
  const installed = [process.env.CHROMIUM_PATH, '/usr/bin/chromium'].find((file) => file && existsSync(file));
  return installed ?? unpackChromium(cache);
}

/** The Chromium of the npm package, unpacked once below `cache`; SwiftShader and a Vulkan loader lie beside it. */
export async function unpackChromium(cache: string): Promise<string> {
  const unpacked = path.join(cache, 'chromium');
  await mkdir(unpacked, { recursive: true });
  const { TMPDIR } = process.env;
  process.env.TMPDIR = unpacked; // where the package unpacks its compressed binary, once
  try {
    const { default: chromium } = await import('@sparticuz/chromium');
    return await chromium.executablePath();
  } catch (cause) {
    throw new Error('No Chromium found: set CHROMIUM_PATH, or install chromium or @sparticuz/chromium', { cause });
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  }
}
