/**
 * `npm run package [-- --target PLATFORM …]`: the extension as early-exit-<platform>.vsix, for this platform or for others.
 * What goes in is listed in .vscodeignore; of ONNX Runtime only that platform's libraries. It is laid out in .cache/package first.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { copyGgml, copyRuntime, platforms } from './runtime.mjs';
import { fail, installPackages, root, run } from './set-up.mjs';

const usage = `npm run package [-- [--target] PLATFORM …]

Writes early-exit-PLATFORM.vsix, for this platform where none is named.`;

const { targets, help } = readArguments();
installPackages();
const known = platforms();
if (help) {
  console.log(`${usage}\nPlatforms: ${known.join(', ')}.`);
} else {
  const unknown = targets.find((target) => !known.includes(target));
  if (unknown !== undefined) fail(`ONNX Runtime has nothing for ${unknown}; there are ${known.join(', ')}.`);
  for (const target of targets) packageFor(target);
}

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        target: { type: 'string', short: 't', multiple: true, default: [] },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    const named = [...values.target, ...positionals];
    return { targets: named.length ? named : [`${process.platform}-${process.arch}`], help: values.help };
  } catch (error) {
    return fail(`${error.message}\n\n${usage}`);
  }
}

function packageFor(target) {
  const stage = path.join(root, '.cache/package', target);
  const vsix = path.join(root, `early-exit-${target}.vsix`);
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  for (const name of allowList()) cpSync(path.join(root, name), path.join(stage, name), { recursive: true });
  run(process.execPath, ['scripts/build.mjs', '--package', `--out=${path.join(stage, 'dist')}`]);
  copyRuntime(path.join(stage, 'dist'), [target]);
  copyGgml(path.join(stage, 'dist'), target);
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
  run(process.execPath, [vsce, 'package', ...options, '--out', vsix], {}, stage);
  rmSync(stage, { recursive: true, force: true });
  console.log(`${path.relative(process.cwd(), vsix)}: ${(statSync(vsix).size / 1e6).toFixed(1)} MB`);
}

/** What .vscodeignore lets in, as files and folders; what is made anew is left out. */
function allowList() {
  const lines = readFileSync(path.join(root, '.vscodeignore'), 'utf8').split('\n');
  const names = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1).replace(/\/\*\*$/, ''));
  const made = ['.vscodeignore', 'dist', 'package.json', 'README.md'];
  return ['.vscodeignore', ...names.filter((name) => !made.includes(name))];
}

/** The manifest without what only a clone or npm needs. */
function writeManifest(stage) {
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const others = /^(scripts|files|bin|allowScripts|overrides|.*[dD]ependencies(Meta)?)$/;
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
