/**
 * Bundles the command line, the worker, the language server, the extension and its webview into dist/; `--package`
 * minified, without source maps and nothing else there; `--out=FOLDER` elsewhere.
 */
import { build } from 'esbuild';
import { chmod, rm } from 'node:fs/promises';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const packaging = process.argv.includes('--package');
const out = process.argv.find((word) => word.startsWith('--out='))?.slice('--out='.length) ?? path.join(root, 'dist');

const common = {
  absWorkingDir: root,
  bundle: true,
  sourcemap: packaging ? false : 'linked',
  minify: packaging,
  logLevel: 'warning',
  legalComments: 'linked',
};

// Bundled CommonJS packages ask for Node's own modules with require, which an ES module has not.
const requireInModules = `import { createRequire as __createRequire } from 'node:module';
const require = __createRequire(import.meta.url);`;

/** Native packages, and packages that only some machines have. */
const external = [
  'onnxruntime-node',
  'onnxruntime-common',
  'koffi',
  'webgpu',
  '@tensorflow/tfjs-node',
  '@tensorflow/tfjs-node-gpu',
];

const bundles = [
  {
    entryPoints: {
      cli: 'backend/cli/main.ts',
      worker: 'backend/worker/entry.ts',
      'template-child': 'backend/data/template-child.mjs',
      server: 'backend/language-server/main.ts',
    },
    platform: 'node',
    target: 'node20',
    format: 'esm',
    external,
    banner: { js: requireInModules },
    outdir: out,
  },
  {
    entryPoints: { extension: 'extension/main.ts' },
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['vscode'],
    outdir: out,
    outExtension: { '.js': '.cjs' },
  },
  {
    entryPoints: { main: 'webview/main.ts' },
    platform: 'browser',
    target: 'es2022',
    format: 'esm',
    loader: { '.ttf': 'file' },
    outdir: path.join(out, 'webview'),
  },
];

// No source map goes into a package, and no ONNX Runtime of a package stays beside bundles for this clone.
await rm(packaging ? out : path.join(out, 'node_modules'), { recursive: true, force: true });
await Promise.all(bundles.map((bundle) => build({ ...common, ...bundle })));
await chmod(path.join(out, 'cli.js'), 0o755);
