/** A headless Chromium: one that is installed, else the one that an npm package carries. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';

export async function findChromium(cache: string): Promise<string> {
  const installed = [process.env.CHROMIUM_PATH, '/usr/bin/chromium'].find((file) => file && existsSync(file));
  return installed ?? unpackChromium(cache);
}

/**
 * The Chromium of the npm package, unpacked once below `cache`; SwiftShader and a Vulkan loader lie beside it. Several processes may ask for it
 * at the same time.
 */
export async function unpackChromium(cache: string): Promise<string> {
  const unpacked = path.join(cache, 'chromium');
  const executable = path.join(unpacked, 'chromium');
  if (existsSync(executable)) return executable;
  await mkdir(cache, { recursive: true });
  const partial = await mkdtemp(`${unpacked}.partial-`);
  const { TMPDIR } = process.env;
  process.env.TMPDIR = partial; // where the package unpacks its compressed binary
  try {
    const { default: chromium } = await import('@sparticuz/chromium');
    await chromium.executablePath();
    await rename(partial, unpacked).catch((error: unknown) => {
      if (!existsSync(executable)) throw error;
    });
    return executable;
  } catch (cause) {
    throw new Error('No Chromium found: set CHROMIUM_PATH, or install chromium or @sparticuz/chromium', { cause });
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
    await rm(partial, { recursive: true, force: true });
  }
}
