/** Bundles the bench as users have the program: from sources, through tsx, a small model's token takes longer, with exits by some per cent. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { forNode } from '../../scripts/bundle.mjs';
import { root } from '../../scripts/set-up.mjs';

/** Every file still finds what lies beside it. */
const places = {
  name: 'places of the sources',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, async ({ path: file }) => {
      const source = await readFile(file, 'utf8');
      const contents = source
        .replaceAll('import.meta.dirname', JSON.stringify(path.dirname(file)))
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(file).href));
      return { contents, loader: 'ts' };
    });
  },
};

/** Returns the folder, with `run.mjs` and `ours-child.mjs`. */
export async function bundleBench() {
  const outdir = path.join(root, '.cache/bench/program');
  await build({
    ...forNode,
    absWorkingDir: path.join(root, 'test/bench'),
    entryPoints: { run: 'run.ts', 'ours-child': 'contestants/ours-child.ts' },
    external: [...forNode.external, '@node-llama-cpp/*'],
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    sourcemap: 'linked',
    logLevel: 'warning',
    plugins: [places],
  });
  return outdir;
}
