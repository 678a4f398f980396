/** Bundles the command line, the worker, the language server, the extension and its webview. */
import { build } from 'esbuild';
import { chmod, rm } from 'node:fs/promises';
import path from 'node:path';
import { root } from './set-up.mjs';

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

/** How programs for Node are bundled. */
export const forNode = {
  platform: 'node',
  target: 'node20',
  format: 'esm',
  external,
  banner: { js: requireInModules },
};

/**
 * Writes bundles into `out`; for a package minified, without source maps and nothing else there. Returns the folders of
 * the packages that went in.
 */
export async function bundle(out, { forPackage }) {
  const common = {
    absWorkingDir: root,
    bundle: true,
    metafile: true,
    sourcemap: forPackage ? false : 'linked',
    minify: forPackage,
    logLevel: 'warning',
    legalComments: 'linked',
  };
  const bundles = [
    {
      entryPoints: {
        cli: 'backend/cli/main.ts',
        worker: 'backend/worker/entry.ts',
        'template-child': 'backend/data/prompts/template-child.mjs',
        server: 'backend/language-server/main.ts',
      },
      ...forNode,
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
  if (forPackage) await rm(out, { recursive: true, force: true });
  const built = await Promise.all(bundles.map((each) => build({ ...common, ...each })));
  await chmod(path.join(out, 'cli.js'), 0o755);
  const files = built.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  return [...new Set(files.map(packageOf).filter((folder) => folder !== null))];
}

/** The folder of the package that a file belongs to; null for our own. */
function packageOf(file) {
  const [folder] = /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(file) ?? [];
  return folder === undefined ? null : path.join(root, folder);
}
