/** Damaged configurations of every family: each opens a model of finite numbers or is refused with the user's error. */
import { cpSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openModel } from '../../../backend/model/open.ts';
import { UserError } from '../../../protocol/errors.ts';
import { random } from '../../support/random.ts';
import { writeAnew } from '../../support/write-anew.ts';
import { file, gguf, temporaryFolder, text } from '../formats/fixtures.ts';
import { fixtures } from '../../support/golden.ts';

const others = [
  null,
  true,
  -1,
  0,
  0.5,
  7,
  2 ** 24,
  2 ** 31,
  1e308,
  1e-308,
  '',
  'toString',
  '__proto__',
  [],
  [1],
  {},
  { type: 'yarn' },
];
const keys = [
  'sliding_window',
  'head_dim',
  'rope_scaling',
  'rope_parameters',
  'layer_types',
  'text_config',
  'hidden_act',
  'num_experts',
  'num_experts_per_tok',
  'moe_intermediate_size',
  'mlp_only_layers',
  'quantization_config',
];

it.each(readdirSync(join(fixtures, 'tiny')))('%s: 40 mutations', (family) => {
  const next = random(family.length + family.charCodeAt(0));
  const any = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
  /** Replaces, drops or adds a value somewhere in the tree. */
  const damage = (value: unknown): unknown => {
    if (typeof value === 'number' && next() < 0.5) return any([2 * value, value + 1, value - 1, -value, value / 2]);
    if (typeof value !== 'object' || value === null || next() < 0.1) return any(others);
    const key = any(Object.keys(value)) ?? 'x';
    if (Array.isArray(value))
      return next() < 0.2 ? value.slice(1) : value.with(Number(key), damage(value[Number(key)]));
    const { [key]: old, ...rest } = value as Record<string, unknown>;
    return next() < 0.1 ? rest : { ...rest, [next() < 0.1 ? any(keys) : key]: damage(old) };
  };
  const folder = temporaryFolder();
  cpSync(join(fixtures, 'tiny', family), folder, { recursive: true });
  const original: unknown = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  for (let round = 0; round < 40; round++) {
    const config = JSON.stringify(damage(next() < 0.3 ? damage(original) : original));
    writeAnew(join(folder, 'config.json'), config);
    try {
      const model = openModel(folder);
      model.close();
      expect([config, notFinite(model.spec)]).toEqual([config, []]);
    } catch (error) {
      if (!(error instanceof UserError)) throw new Error(`round ${round}: ${config}`, { cause: error });
      expect(error.message.length).toBeLessThan(600);
    }
  }
});

it.skipIf(process.platform !== 'linux')('what is refused leaves no file open', () => {
  const [directory, folder] = [temporaryFolder(), temporaryFolder()];
  cpSync(join(fixtures, 'tiny', 'qwen2'), directory, { recursive: true });
  const config = JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')) as object;
  writeAnew(join(directory, 'config.json'), JSON.stringify({ ...config, intermediate_size: 7 }));
  const unread = file(folder, 'a.gguf', gguf({ entries: [['general.architecture', 8, text('llama')]] }));
  for (const path of [directory, unread]) expect(() => openModel(path)).toThrow(UserError);
  // Other tests of this process have files of their own open.
  const open = readdirSync('/proc/self/fd').map((fd) => readlinkOf(join('/proc/self/fd', fd)));
  expect(open.filter((path) => path.startsWith(directory) || path.startsWith(folder))).toEqual([]);
});

function readlinkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

/** Where a number of a spec is none. */
function notFinite(value: unknown, place = 'spec'): string[] {
  if (typeof value === 'number') return Number.isFinite(value) ? [] : [place];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => notFinite(inner, `${place}.${key}`));
}
