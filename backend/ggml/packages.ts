/**
 * The packages of npm with ggml's libraries, for the CPU and for graphics cards: their names for this platform, and the folders of their
 * libraries. Knows names and paths, loads nothing.
 */
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { nativePackage } from '../system/installed.ts';
import { userCache } from '../system/user-cache.ts';

/** Versions of the package whose functions have been compared with the prototypes above. */
export const packageVersion = '3.21.1';

/** Name of the package for this platform; null if there is none. */
export function packageName(platform: string = process.platform, architecture: string = process.arch): string | null {
  const names: Readonly<Record<string, string>> = {
    'linux-x64': 'linux-x64',
    'linux-arm64': 'linux-arm64',
    'darwin-arm64': 'mac-arm64-metal',
    'darwin-x64': 'mac-x64',
    'win32-x64': 'win-x64',
    'win32-arm64': 'win-arm64',
  };
  const name = names[`${platform}-${architecture}`];
  return name === undefined ? null : `@node-llama-cpp/${name}`;
}

/** The folder with the libraries, from the installed package; null if it is not installed. */
export function libraryFolder(): string | null {
  const name = packageName();
  const entry = name && nativePackage(name);
  if (!entry) return null;
  // The package exports only its entry, which returns its folder.
  const folder = path.join(path.dirname(entry), '..', 'bins', name.replace('@node-llama-cpp/', ''));
  return existsSync(folder) ? folder : null;
}

export type GpuKind = 'vulkan' | 'cuda' | 'metal';
/** The packages that doctor installs; Metal's library is in the package for the CPU of a Mac. */
export type BroughtKind = Exclude<GpuKind, 'metal'>;

export interface GpuPackage {
  readonly name: string;
  /** npm's, of `packageVersion`. */
  readonly integrity: string;
  /** Megabytes to fetch, and on disk. */
  readonly packed: number;
  readonly unpacked: number;
}

const packages: Readonly<Record<BroughtKind, Readonly<Record<string, GpuPackage>>>> = {
  vulkan: {
    'linux-x64': {
      name: '@node-llama-cpp/linux-x64-vulkan',
      integrity: 'sha512-flEeSzONQ6OIm5bYKLQf4eEnBzcC5WugFbyPUwkCqyyOFZ8pH0H9ulQ7ZNDLSIczeKneMRJornlyY1Hq7d3GDA==',
      packed: 27,
      unpacked: 89,
    },
    'win32-x64': {
      name: '@node-llama-cpp/win-x64-vulkan',
      integrity: 'sha512-HJ237Azh5m4Sz+w3A1IU/fYLaSDOocskcfn2ILTgqTuuORCB86EMnu3Yt/XsNhRHTtEiwz1Q/E0mO4PLIbZLAA==',
      packed: 27,
      unpacked: 104,
    },
  },
  cuda: {
    'linux-x64': {
      name: '@node-llama-cpp/linux-x64-cuda',
      integrity: 'sha512-idsE55VoD/FbvLhnBC9krUJaUoC0XnebseAAnCpm/brKf61HEbu+idgbb5eN6mxkjLSrHtILprJ0nDcUJjVrFg==',
      packed: 143,
      unpacked: 189,
    },
    'win32-x64': {
      name: '@node-llama-cpp/win-x64-cuda',
      integrity: 'sha512-PLz70neFEMkQTlmJqG1ujUtCSgHasLPMxQ9rLkqQVmZYAXqkRj+45TIHCjdn3XqUeaoun0vrO9rRaxZ8NVq9jg==',
      packed: 139,
      unpacked: 176,
    },
  },
};

/** Null if there is none for this platform. */
export const gpuPackage = (
  kind: BroughtKind,
  platform: string = process.platform,
  architecture: string = process.arch,
): GpuPackage | null => packages[kind][`${platform}-${architecture}`] ?? null;

/**
 * Folder into which doctor installs a package, with a `node_modules`. Each version has a folder of its own, so that versions are never
 * mixed.
 */
export const gpuFolder = (kind: BroughtKind): string => path.join(userCache(), `ggml-${kind}-${packageVersion}`);

/** The library of a kind; null if it is not here. Metal's is known by the folder that it lies in. */
export function gpuLibrary(kind: GpuKind): string | null {
  if (kind === 'metal') {
    const folder = process.platform === 'darwin' ? libraryFolder() : null;
    return folder && fileIn(folder, kind);
  }
  const wanted = gpuPackage(kind);
  if (wanted === null) return null;
  return fileIn(binariesOf(installed(wanted.name), wanted), kind) ?? gpuLibraryBelow(gpuFolder(kind), kind);
}

/** The library of a kind in a folder that npm installed its package into. */
export function gpuLibraryBelow(folder: string, kind: BroughtKind): string | null {
  const wanted = gpuPackage(kind);
  return wanted && fileIn(binariesOf(path.join(folder, 'node_modules', wanted.name), wanted), kind);
}

const binariesOf = (folder: string | null, { name }: GpuPackage): string | null =>
  folder && path.join(folder, 'bins', name.replace('@node-llama-cpp/', ''));

function fileIn(folder: string | null, kind: GpuKind): string | null {
  if (folder === null || !existsSync(folder)) return null;
  const name = readdirSync(folder).find((file) => new RegExp(`^(lib)?ggml-${kind}\\.(so|dylib|dll)$`).test(file));
  return name === undefined ? null : path.join(folder, name);
}

/** The folder of a package beside ours; null if it is not installed in this version. */
function installed(name: string): string | null {
  const require = createRequire(import.meta.url);
  try {
    const folder = path.join(path.dirname(require.resolve(name)), '..');
    const { version } = require(path.join(folder, 'package.json')) as { version?: unknown };
    return version === packageVersion ? folder : null;
  } catch {
    return null;
  }
}
