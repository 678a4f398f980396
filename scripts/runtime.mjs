/**
 * ONNX Runtime beside the bundles that import it, as a package carries it: its own modules, its common part and the
 * libraries of chosen platforms, without its install script, which would download CUDA from another host.
 */
import { cpSync, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { packageFolder } from './foreign.mjs';
import { root } from './set-up.mjs';

const modules = path.join(root, 'node_modules');
const natives = 'onnxruntime-node/bin/napi-v6';

/** Where a package can run: `linux-x64`, `darwin-arm64` … */
export const platforms = () =>
  readdirSync(path.join(modules, natives)).flatMap((system) =>
    readdirSync(path.join(modules, natives, system)).map((architecture) => `${system}-${architecture}`),
  );

/** Copies into `<dist>/node_modules`, where Node looks first from a bundle in `dist`. */
export function copyRuntime(dist, targets) {
  const place = path.join(dist, 'node_modules');
  for (const name of ['onnxruntime-common', 'onnxruntime-node']) {
    for (const part of ['package.json', 'README.md', 'dist']) copy(path.join(name, part), place);
  }
  for (const target of targets) copy(path.join(natives, ...target.split('-')), place);
}

/** Packages of ggml's libraries for a platform and of koffi, which calls them. */
export function ggmlPackages(target) {
  const [system, architecture] = target.split('-');
  const name = { linux: 'linux', darwin: 'mac', win32: 'win' }[system];
  const libraries = `@node-llama-cpp/${name}-${architecture}${target === 'darwin-arm64' ? '-metal' : ''}`;
  return ['koffi', `@koromix/koffi-${target}`, libraries];
}

export function copyGgml(dist, target) {
  // koffi's sources, and llama.cpp beside ggml, are not called.
  const unused =
    /(vendor|doc|musl_\w+|src[\\/]koffi[\\/]src[\\/].*\.(cc|hh|inc|asm|S)|llama[^\\/]*\.(node|so|dylib|dll))$/;
  const filter = (file) => !unused.test(file);
  for (const name of ggmlPackages(target))
    cpSync(packageFolder(name), path.join(dist, 'node_modules', name), { recursive: true, filter });
}

function copy(name, place) {
  cpSync(path.join(modules, name), path.join(place, name), { recursive: true, filter: (file) => isNeeded(file) });
}

function isNeeded(file) {
  if (/\.(map|d\.ts)$/.test(file) || file.includes(`onnxruntime-common${path.sep}dist${path.sep}esm`)) return false;
  // macOS has its library twice, once under the name that the binding asks for.
  const versioned = /^(libonnxruntime\.\d+)\.[\d.]+\.dylib$/.exec(path.basename(file));
  return versioned === null || !existsSync(path.join(path.dirname(file), `${versioned[1]}.dylib`));
}
