/**
 * `npm run package`: the extension for this platform as early-exit-<platform>.vsix. What goes in is listed in
 * .vscodeignore; of ONNX Runtime only the native part of this platform. It is laid out in .cache/package first.
 */
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { root, run, setUp } from './set-up.mjs';

const platform = `${process.platform}-${process.arch}`;
const target = process.argv[2] ?? platform;
const [system, architecture] = target.split('-');
const stage = path.join(root, '.cache/package');
const vsix = path.join(root, `early-exit-${target}.vsix`);

setUp();
rmSync(stage, { recursive: true, force: true });
mkdirSync(stage, { recursive: true });
copy('.vscodeignore', ...allowList());
run(process.execPath, ['scripts/build.mjs', '--package', `--out=${path.join(stage, 'dist')}`]);
copyRuntime();
writeManifest();
// The links of the README lead to files of the package.
const options = ['--target', target, '--no-dependencies', '--allow-missing-repository', '--no-rewrite-relative-links'];
const vsce = path.join(root, 'node_modules/@vscode/vsce/vsce');
run(process.execPath, [vsce, 'package', ...options, '--out', vsix], {}, stage);
console.log(`${path.relative(process.cwd(), vsix)}: ${(statSync(vsix).size / 1e6).toFixed(1)} MB`);

/** What .vscodeignore lets in, as files and folders; the bundles and the manifest are made anew. */
function allowList() {
  const lines = readFileSync(path.join(root, '.vscodeignore'), 'utf8').split('\n');
  const names = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1).replace(/\/\*\*$/, ''));
  return names.filter((name) => name !== 'dist' && name !== 'package.json');
}

function copy(...names) {
  for (const name of names) {
    const from = path.join(root, name);
    if (statSync(from, { throwIfNoEntry: false })) cpSync(from, path.join(stage, name), { recursive: true });
  }
}

/** ONNX Runtime beside the bundles that import it: its own modules, its common part, and one platform's libraries. */
function copyRuntime() {
  const modules = path.join(root, 'node_modules');
  const place = path.join(stage, 'dist/node_modules');
  for (const name of ['onnxruntime-common', 'onnxruntime-node']) {
    for (const part of ['package.json', 'README.md', 'dist']) {
      const from = path.join(modules, name, part);
      const filter = (file) => !file.endsWith('.map') && !file.includes('/esm/');
      cpSync(from, path.join(place, name, part), { recursive: true, filter });
    }
  }
  const native = path.join('onnxruntime-node/bin/napi-v6', system, architecture);
  if (readdirSync(path.join(modules, native)).length === 0) throw new Error(`ONNX Runtime has nothing for ${target}.`);
  cpSync(path.join(modules, native), path.join(place, native), { recursive: true });
}

/** The manifest without what only a clone needs. */
function writeManifest() {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  for (const key of [
    'scripts',
    'dependencies',
    'devDependencies',
    'optionalDependencies',
    'peerDependencies',
    'files',
    'bin',
  ]) {
    delete manifest[key];
  }
  for (const key of Object.keys(manifest)) if (key.endsWith('Meta')) delete manifest[key];
  writeFileSync(path.join(stage, 'package.json'), JSON.stringify(manifest, null, 2));
}
