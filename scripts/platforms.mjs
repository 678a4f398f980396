/**
 * The package `@early-exit/<platform>`: ggml's libraries, koffi, which calls them, and ONNX Runtime, of one platform alone. It lies
 * beside the main package where npm installs both, and in the bundles' folder in a .vsix. Installing it runs no script.
 */
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { packageFolder } from './foreign.mjs';
import { writeNotices } from './notices.mjs';
import { fail, npm, root, run } from './set-up.mjs';

/** The platforms for which packages are made. */
export const platforms = ['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64', 'win32-arm64', 'win32-x64'];

export const thisPlatform = `${process.platform}-${process.arch}`;

export const platformPackage = (target) => `@early-exit/${target}`;

/** By package, the files that a platform needs of it, as a pattern of paths inside the package. */
export function nativePackages(target) {
  const [system, architecture] = target.split('-');
  const name = { linux: 'linux', darwin: 'mac', win32: 'win' }[system];
  const folder = `${name}-${architecture}${target === 'darwin-arm64' ? '-metal' : ''}`;
  const ggml = {
    koffi: /^(package\.json|index\.cjs|src\/koffi\/(index\.cjs|src\/static\.cjs))$/,
    [`@koromix/koffi-${target}`]: new RegExp(`^(package\\.json|index\\.js|${system}_${architecture}/koffi\\.node)$`),
    // llama.cpp, which lies beside ggml, is not called.
    [`@node-llama-cpp/${folder}`]: /^(package\.json|dist\/index\.js|bins\/.*\/(lib)?ggml[^/]*\.(so|dylib|dll))$/,
  };
  // For Macs with Intel's processors ONNX Runtime has no library.
  if (target === 'darwin-x64') return ggml;
  return {
    ...ggml,
    'onnxruntime-common': /^(package\.json|dist\/cjs\/.*\.js|dist\/cjs\/package\.json)$/,
    // On macOS only the copy of the library that the binding loads. The others are for GPUs, and are loaded only if one is requested.
    'onnxruntime-node': new RegExp(
      `^(package\\.json|dist/.*\\.js|bin/napi-v6/${system}/${architecture}/(onnxruntime_binding\\.node|(lib)?onnxruntime(\\.so|\\.dll)?(\\.1)?(\\.dylib)?))$`,
    ),
  };
}

/** The platforms that a command's words name, else `without`. Ends the process after its help, or if a word is wrong. */
export function readTargets(usage, without = [thisPlatform]) {
  const { targets, help } = readWords(usage);
  if (help) {
    console.log(`${usage}\nPlatforms: ${platforms.join(', ')}.`);
    process.exit(0);
  }
  const unknown = targets.find((target) => !platforms.includes(target));
  if (unknown !== undefined) fail(`There are no libraries for ${unknown}; there are for ${platforms.join(', ')}.`);
  return targets.length ? targets : without;
}

function readWords(usage) {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        target: { type: 'string', short: 't', multiple: true, default: [] },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    return { targets: [...values.target, ...positionals], help: values.help };
  } catch (error) {
    return fail(`${error.message}\n\n${usage}`);
  }
}

/** Lays the package of a platform out in a folder; returns where the packages lie that went in. */
export function layOutPlatform(target, folder) {
  const [system, architecture] = target.split('-');
  const { version, license } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  mkdirSync(folder, { recursive: true });
  const manifest = {
    name: platformPackage(target),
    version,
    description: `Early Exit's libraries for ${target}: ggml, koffi and ONNX Runtime. Installed beside early-exit.`,
    license,
    os: [system],
    cpu: [architecture],
    ...(system === 'linux' && { libc: ['glibc'] }),
  };
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest, null, 2) + '\n');
  writeFileSync(path.join(folder, 'README.md'), `# ${manifest.name}\n\n${manifest.description}\n`);
  cpSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'));
  return Object.entries(nativePackages(target)).map(([name, files]) => {
    const from = packageFolder(name);
    // npm packs a folder of this name anywhere but beside package.json.
    copyFiles(from, path.join(folder, 'lib/node_modules', name), files);
    return from;
  });
}

/** Writes the tarball of a platform into a folder. */
export function packPlatform(target, destination) {
  const stage = path.join(root, '.cache/platforms', target);
  rmSync(stage, { recursive: true, force: true });
  writeNotices(stage, layOutPlatform(target, stage));
  const [command, args] = npm('pack', '--silent', '--ignore-scripts', `--pack-destination=${destination}`);
  run(command, args, { folder: stage, toErrors: true });
  rmSync(stage, { recursive: true, force: true });
}

function copyFiles(from, to, files) {
  const wanted = readdirSync(from, { recursive: true }).filter((file) => files.test(file.replaceAll(path.sep, '/')));
  for (const file of wanted) {
    cpSync(path.join(from, file), path.join(to, file));
    // npm installs with the rights that its user likes to give.
    chmodSync(path.join(to, file), 0o644);
  }
}
