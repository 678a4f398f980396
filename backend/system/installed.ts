/**
 * Finds what is installed of this program: its own package, and the packages with libraries of this platform. With npm and a .vsix those
 * are one package of ours, `@early-exit/<platform>`; in a clone they are in node_modules. Knows no other package by name.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json, from source and from a bundle alike. */
export function packageRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const above = path.dirname(folder);
    if (above === folder) throw new Error('The package has no package.json above its own files.');
    folder = above;
  }
  return folder;
}

/** The version of a package by its folder. */
export const versionIn = (folder: string): string =>
  (JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as { version: string }).version;

/** Our package with the other libraries for this platform. */
export const platformPackage = `@early-exit/${process.platform}-${process.arch}`;

/** The file that the name of a package with libraries leads to, seen from a module; null if it is not installed. */
export function nativePackage(name: string, from: string = import.meta.url): string | null {
  const folder = platformFolder(from);
  // A package of another version is not used, and neither are libraries that npm has put elsewhere for other programs.
  if (folder !== null) return isOurs(folder) ? resolved(name, path.join(folder, 'lib', 'index.js')) : null;
  return resolved(name, from);
}

/** Why packages with libraries are missing, as a clause. */
export function missingLibraries(from: string = import.meta.url): string {
  const folder = platformFolder(from);
  return folder === null || isOurs(folder)
    ? `the package ${platformPackage} is not installed`
    : `the package ${platformPackage} has version ${versionIn(folder)} instead of ${versionIn(packageRoot())}`;
}

function platformFolder(from: string): string | null {
  const manifest = resolved(`${platformPackage}/package.json`, from);
  return manifest && path.dirname(manifest);
}

const isOurs = (folder: string): boolean => versionIn(folder) === versionIn(packageRoot());

function resolved(name: string, from: string): string | null {
  try {
    return createRequire(from).resolve(name);
  } catch {
    return null;
  }
}
