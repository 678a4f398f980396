/** The arrows of docs/architecture.md, over what every file imports, however the import is written. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');

/** What each folder may import besides itself and protocol/. Kept apart from eslint.config.js on purpose: both must agree. */
const below: Readonly<Record<string, readonly string[]>> = {
  system: [],
  hub: ['system'],
  formats: ['system'],
  model: ['system', 'formats'],
  data: ['system', 'formats', 'model'],
  grammar: ['data'],
  onnx: ['system', 'model'],
  ggml: ['system', 'formats', 'model'],
  autodiff: ['model', 'onnx'],
  exits: ['formats', 'model', 'autodiff'],
  runtime: ['system', 'formats', 'model', 'ggml', 'exits'],
  devices: ['system', 'formats', 'model', 'ggml', 'exits', 'runtime'],
  checkpoint: ['system', 'formats', 'model', 'exits'],
  cluster: ['system', 'formats', 'model', 'exits', 'devices', 'checkpoint'],
  features: ['system', 'model', 'runtime'],
  decoding: ['model', 'exits', 'runtime', 'data', 'checkpoint'],
  tuning: ['model', 'data', 'onnx', 'autodiff', 'exits', 'runtime', 'devices', 'checkpoint', 'features'],
  evaluation: ['system', 'model', 'data', 'exits', 'runtime', 'devices', 'checkpoint', 'features', 'decoding'],
  export: ['system', 'formats', 'model', 'data', 'ggml', 'exits', 'runtime'],
  recipes: [
    'system',
    'hub',
    'formats',
    'model',
    'data',
    'grammar',
    'exits',
    'runtime',
    'devices',
    'checkpoint',
    'cluster',
    'features',
    'decoding',
    'tuning',
    'evaluation',
    'export',
  ],
  worker: ['recipes'],
  server: ['worker', 'recipes'],
  'language-server': ['system', 'hub', 'data', 'worker', 'recipes', 'server'],
  cli: ['worker', 'recipes', 'server', 'language-server'],
};

it('docs/architecture.md lists the rooms of the backend such that imports point downwards', () => {
  const page = readFileSync(path.join(root, 'docs/architecture.md'), 'utf8');
  const [, map] = /^backend\/\n((?: {2}.*\n)+)/m.exec(page)!;
  const rooms = [...map!.matchAll(/^ {2}([\w-]+)\//gm)].map(([, room]) => room!);
  expect([...rooms].sort()).toEqual(Object.keys(below).sort());
  const upwards = rooms.flatMap((room, i) =>
    below[room]!.filter((other) => rooms.indexOf(other) < i).map((other) => `${room} → ${other}`),
  );
  expect(upwards).toEqual([]);
});

interface Import {
  readonly file: string;
  readonly specifier: string;
}

function importsOf(folder: string): Import[] {
  if (!existsSync(path.join(root, folder))) return [];
  const files = readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(ts|mjs)$/.test(file))
    .map((file) => path.posix.join(folder, file.replaceAll('\\', '/')));
  return files.flatMap((file) => {
    const text = readFileSync(path.join(root, file), 'utf8');
    const found = text.matchAll(
      /(?:^|\n)\s*(?:import|export)\s[^;]*?from\s*'([^']+)'|\bimport\(\s*'([^']+)'|(?:^|\n)import\s*'([^']+)'/g,
    );
    return [...found].map((match) => ({ file, specifier: (match[1] ?? match[2] ?? match[3])! }));
  });
}

/** The folder an import leads to: `protocol`, `backend/model` …; null for a package. */
function target({ file, specifier }: Import): string | null {
  if (!specifier.startsWith('.')) return null;
  const parts = path.posix.join(path.posix.dirname(file), specifier).split('/');
  return parts[0] === 'backend' ? parts.slice(0, 2).join('/') : parts[0]!;
}

const folders = [
  ...Object.entries(below).map(([name, others]) => ({
    folder: `backend/${name}`,
    allowed: [`backend/${name}`, 'protocol', ...others.map((other) => `backend/${other}`)],
  })),
  { folder: 'extension', allowed: ['extension', 'protocol'] },
  { folder: 'webview', allowed: ['webview', 'protocol'] },
  { folder: 'protocol', allowed: ['protocol'] },
];

describe('imports', () => {
  it.each(folders)('of $folder follow the arrows', ({ folder, allowed }) => {
    const wrong = importsOf(folder).filter((each) => {
      const to = target(each);
      return to !== null && !allowed.includes(to);
    });
    expect(wrong).toEqual([]);
  });

  it('form no circle among files', () => {
    const next = new Map<string, string[]>();
    for (const { folder } of folders) {
      for (const { file, specifier } of importsOf(folder)) {
        if (specifier.startsWith('.')) {
          const to = path.posix.join(path.posix.dirname(file), specifier);
          next.set(file, [...(next.get(file) ?? []), to]);
        }
      }
    }
    // Files that import nothing which is left are taken away until none is left, or only circles and what leads to them.
    for (let before = -1; before !== next.size;) {
      before = next.size;
      for (const [file, to] of next) if (!to.some((other) => next.has(other))) next.delete(file);
    }
    expect([...next.keys()]).toEqual([]);
  });

  it('know every folder of the backend', () => {
    const unknown = readdirSync(path.join(root, 'backend')).filter((folder) => !(folder in below));
    expect(unknown).toEqual([]);
  });

  it('keep each heavy package in its place', () => {
    const all = folders.flatMap(({ folder }) => importsOf(folder));
    const importers = (pattern: RegExp) =>
      new Set(
        all.filter(({ specifier }) => pattern.test(specifier)).map(({ file }) => file.split('/').slice(0, 2).join('/')),
      );
    for (const folder of importers(/^onnxruntime-/)) expect(folder).toBe('backend/onnx');
    for (const folder of importers(/^koffi$/)) expect(folder).toBe('backend/ggml');
    for (const folder of importers(/^@tensorflow\//)) {
      expect(['backend/autodiff', 'backend/exits', 'backend/tuning']).toContain(folder);
    }
    for (const folder of importers(/^vscode$/)) expect(folder).toMatch(/^extension\//);
    expect(
      all.filter(({ file }) => file.startsWith('protocol/')).every(({ specifier }) => specifier.startsWith('.')),
    ).toBe(true);
  });
});
