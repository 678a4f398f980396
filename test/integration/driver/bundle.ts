/** Bundles suites: tests inside VS Code must be CommonJS, in one file each. */
import { build } from 'esbuild';
import { writeFile, mkdir } from 'node:fs/promises';
import path from 'node:path';

/** Returns the bundle of each suite by name. */
export async function bundleSuites(
  suites: string,
  names: readonly string[],
  out: string,
): Promise<Map<string, string>> {
  await mkdir(out, { recursive: true });
  await writeFile(path.join(out, 'package.json'), '{"type":"commonjs"}');
  await build({
    entryPoints: names.map((name) => path.join(suites, `${name}.suite.ts`)),
    outdir: out,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    external: ['vscode'],
    sourcemap: 'inline',
    logLevel: 'warning',
  });
  return new Map(names.map((name) => [name, path.join(out, `${name}.suite.cjs`)]));
}
