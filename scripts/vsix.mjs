/**
 * The extension for a platform. What goes in is listed in .vscodeignore; with it come the platform's own package and the notices of all that
 * is in it. It is laid out in .cache/package first.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { noticesFile, writeNotices } from './notices.mjs';
import { layOutPlatform, platformPackage } from './platforms.mjs';
import { root, run } from './set-up.mjs';

/**
 * Writes early-exit-<target>.vsix into a folder; returns its path. `bundles`: the folder of the bundles, and those of the packages that went in.
 */
export function writeVsix(target, destination, bundles) {
  const stage = path.join(root, '.cache/package', target);
  const vsix = path.join(destination, `early-exit-${target}.vsix`);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  for (const name of allowList()) cpSync(path.join(root, name), path.join(stage, name), { recursive: true });
  const dist = path.join(stage, 'dist');
  cpSync(bundles.folder, dist, { recursive: true });
  // Where Node looks first from a bundle.
  const natives = layOutPlatform(target, path.join(dist, 'node_modules', platformPackage(target)));
  writeNotices(stage, [...bundles.packages, ...natives]);
  writeManifest(stage);
  writeReadme(stage);
  const options = [
    '--target',
    target,
    '--no-dependencies',
    '--allow-missing-repository',
    '--no-rewrite-relative-links',
  ];
  const vsce = path.join(root, 'node_modules/@vscode/vsce/vsce');
  run(process.execPath, [vsce, 'package', ...options, '--out', vsix], { folder: stage });
  rmSync(stage, { recursive: true, force: true });
  return vsix;
}

/** What .vscodeignore lets in, as files and folders; what is made anew is left out. */
function allowList() {
  const lines = readFileSync(path.join(root, '.vscodeignore'), 'utf8').split('\n');
  const names = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1).replace(/\/\*\*$/, ''));
  const made = ['.vscodeignore', 'dist', 'package.json', 'README.md', noticesFile];
  return ['.vscodeignore', ...names.filter((name) => !made.includes(name))];
}

/** The manifest without what only a clone or npm needs. */
function writeManifest(stage) {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const others = /^(scripts|files|bin|workspaces|allowScripts|overrides|.*[dD]ependencies(Meta)?)$/;
  const kept = Object.fromEntries(Object.entries(manifest).filter(([key]) => !others.test(key)));
  writeFileSync(path.join(stage, 'package.json'), JSON.stringify(kept, null, 2));
}

/** The editor shows pictures that a page carries in itself, and follows links to the web alone. */
function writeReadme(stage) {
  const source = path.join(root, 'extension/README.md');
  const page = readFileSync(source, 'utf8').replace(/\]\(([^):]+\.png)\)/g, (_, picture) => {
    const bytes = readFileSync(path.resolve(path.dirname(source), picture));
    return `](data:image/png;base64,${bytes.toString('base64')})`;
  });
  writeFileSync(path.join(stage, 'README.md'), page);
}
