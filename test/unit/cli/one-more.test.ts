/** A small command, added by the six files that CONTRIBUTING names and nothing else; the other files are bundled as they are. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions, type Plugin } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type * as Documents from '../../../protocol/options/documents.ts';
import type { CommandName } from '../../../protocol/options/options.ts';

const root = path.resolve(import.meta.dirname, '../../..');
const caches = path.join(root, '.cache/test');
mkdirSync(caches, { recursive: true });
const out = mkdtempSync(path.join(caches, 'one-more-'));

const added: Readonly<Record<string, string>> = {
  'backend/recipes/tally.ts': `
    import { userError } from '../../protocol/errors.ts';
    import type { TallyEvent } from '../../protocol/events.ts';
    import type { CommandOptions } from '../../protocol/options.ts';

    export async function* tally({ text }: CommandOptions['tally'], signal: AbortSignal): AsyncGenerator<TallyEvent, void> {
      signal.throwIfAborted();
      if (text.length === 0) throw userError('bad-argument', 'There is nothing to tally.', 'Give some with --text.');
      yield { type: 'tallied', words: text.join(' ').split(/\\s+/).length };
    }`,
  'backend/cli/draw/tally.ts': `
    import type { TallyEvent } from '../../../protocol/events.ts';
    import type { Terminal } from './terminal.ts';

    export async function showTally(events: AsyncIterable<TallyEvent>, { out }: Terminal): Promise<void> {
      for await (const { words } of events) out.write(\`\${words} words\\n\`);
    }`,
};

/** By file: lines that come before the one given. */
const changed: Readonly<Record<string, readonly (readonly [before: string, lines: string])[]>> = {
  'protocol/options/commands.ts': [
    [
      '  doctor: { ...doctorOptions },',
      "  tally: { text: list({ default: [], variadic: true, placeholder: 'TEXT…', help: 'Texts to tally.' }) },",
    ],
  ],
  'protocol/events.ts': [
    ['/** What each command reports while it runs', "export type TallyEvent = { type: 'tallied'; words: number };"],
    ['  readonly doctor: DoctorEvent;', '  readonly tally: TallyEvent;'],
  ],
  'backend/recipes/index.ts': [
    [
      '  async *doctor(options, signal) {',
      "  async *tally(options, signal) {\n    yield* (await import('./tally.ts')).tally(options, signal);\n  },",
    ],
  ],
  'backend/cli/commands.ts': [
    ["import { showTune } from './draw/tune.ts';", "import { showTally } from './draw/tally.ts';"],
    [
      '  listCommand,',
      `recipeCommand(
        'tally',
        {
          summary: 'Tally words.',
          description: 'Counts the words of some texts.',
          examples: [["early-exit tally --text 'a b'", 'two']],
        },
        { show: showTally },
      ),`,
    ],
  ],
};

const oneMore: Plugin = {
  name: 'one-more',
  setup(builder) {
    const named = (file: string): string => path.relative(root, file).replaceAll('\\', '/');
    builder.onResolve({ filter: /\/tally\.ts$/ }, ({ path: specifier, resolveDir }) => {
      const file = path.join(resolveDir, specifier);
      return named(file) in added ? { path: file } : undefined;
    });
    builder.onLoad({ filter: /\.ts$/ }, ({ path: file }) => {
      const name = named(file);
      const changes = changed[name];
      if (name in added) return { contents: added[name]!, loader: 'ts' };
      if (changes === undefined) return undefined;
      let contents = readFileSync(file, 'utf8');
      for (const [before, lines] of changes) {
        expect(contents.split(before), `${before} in ${name}`).toHaveLength(2);
        contents = contents.replace(before, () => `${lines}\n${before}`);
      }
      return { contents, loader: 'ts' };
    });
  },
};

beforeAll(async () => {
  const { forNode } = (await import(path.join(root, 'scripts/bundle.mjs'))) as { forNode: BuildOptions };
  const entryPoints = {
    cli: path.join(root, 'backend/cli/main.ts'),
    worker: path.join(root, 'backend/worker/entry.ts'),
    documents: path.join(root, 'protocol/options/documents.ts'),
  };
  await build({ ...forNode, entryPoints, outdir: out, bundle: true, logLevel: 'warning', plugins: [oneMore] });
});
afterAll(() => rmSync(out, { recursive: true, force: true }));

function earlyExit(...words: string[]): Promise<{ code: number | null; text: string }> {
  const env = { ...process.env, NO_COLOR: '1', EARLY_EXIT_CACHE: path.join(out, 'cache') };
  const child = spawn(process.execPath, [path.join(out, 'cli.js'), ...words], { cwd: root, env });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => (text += part));
  child.stdin.end();
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, text })));
}

test('six files', () => {
  expect([...Object.keys(added), ...Object.keys(changed)]).toHaveLength(6);
});

test('the command is listed, explained, completed, run in a thread, and drawn', async () => {
  const [overview, help, completion, shown, json, wrong] = await Promise.all([
    earlyExit('--help'),
    earlyExit('tally', '--help'),
    earlyExit('completion', 'bash'),
    earlyExit('tally', '--text', 'one two', 'three'),
    earlyExit('tally', '--text', 'one two', '--json'),
    earlyExit('tally'),
  ]);
  expect(overview.text).toMatch(/^ {2}tally +Tally words\.$/m);
  expect(help.text).toContain('  --text TEXT…\n      Texts to tally.');
  expect(completion.text).toMatch(/tally[^]*--text/);
  expect(shown).toEqual({ code: 0, text: '3 words\n' });
  expect(json).toEqual({ code: 0, text: '{"type":"tallied","words":2}\n' });
  expect(wrong).toEqual({ code: 2, text: 'error There is nothing to tally. Give some with --text.\n' });
});

test('its config files have a schema', async () => {
  const documents = (await import(pathToFileURL(path.join(out, 'documents.js')).href)) as typeof Documents;
  expect(documents.configSchema('tally' as CommandName)).toMatchObject({
    properties: { text: { description: 'Texts to tally.' } },
  });
});
