import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import type * as nodePath from 'node:path';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { absolutePatterns, readDocuments } from '../../../../backend/data/texts/documents.ts';
import { caught, temporaryFolder } from '../../formats/fixtures.ts';

function folderWith(files: Record<string, string | Uint8Array>): string {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

/** Root may read everything. */
function unprivileged(act: () => void): void {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

const names = (patterns: string[], directory: string, onSkip?: (file: string, reason: string) => void): string[] =>
  [...readDocuments(patterns, { directory, ...(onSkip && { onSkip }) })].map(({ name }) => name);

describe('readDocuments', () => {
  it('takes files, folders and globs once each, in one order', () => {
    const folder = folderWith({ 'b.ts': 'b', 'a/z.ts': 'z', 'a/y.md': 'y', 'c.txt': 'c', 'Z.ts': 'Z' });
    expect(names(['**/*.ts'], folder)).toEqual(['Z.ts', 'a/z.ts', 'b.ts']);
    expect(names(['b.ts', 'a', '*.ts'], folder)).toEqual(['Z.ts', 'a/y.md', 'a/z.ts', 'b.ts']);
    expect(names([join(folder, 'c.txt')], folder)).toEqual(['c.txt']);
    expect(names(['.', '!a/**', '!**/*.txt'], folder)).toEqual(['Z.ts', 'b.ts']);
    const source = readDocuments(['c.txt'], { directory: folder });
    expect([...source]).toEqual([{ kind: 'text', name: 'c.txt', text: 'c' }]);
    expect([...source]).toEqual([...source]);
  });

  it('skips packages, builds, version control and hidden files unless named', () => {
    const folder = folderWith({
      'src/a.ts': 'a',
      'node_modules/p/b.ts': 'b',
      'dist/c.ts': 'c',
      '.git/d.ts': 'd',
      '.hidden/e.ts': 'e',
      'lib/x.min.js': 'x',
      'package-lock.json': '{}',
    });
    expect(names(['.'], folder)).toEqual(['src/a.ts']);
    expect(names(['**/*.ts'], folder)).toEqual(['src/a.ts']);
    expect(names(['dist/**/*.ts'], folder)).toEqual(['dist/c.ts']);
    expect(names(['dist', 'node_modules/p/b.ts'], folder)).toEqual(['dist/c.ts', 'node_modules/p/b.ts']);
    symlinkSync('..', join(folder, 'src', 'loop'));
    expect(names(['.'], folder)).toEqual(['src/a.ts']);
  });

  it('reads files that links lead to, each once, and tells of other links', () => {
    const elsewhere = folderWith({ 'a.ts': 'a', 'deep/b.ts': 'b' });
    const folder = folderWith({ 'src/c.ts': 'c' });
    const link = (to: string, name: string): void => symlinkSync(to, join(folder, name));
    link(join(elsewhere, 'a.ts'), 'a.ts');
    link(join(folder, 'src', 'c.ts'), 'again.ts');
    link(join(elsewhere, 'deep'), 'deep');
    link('nowhere', 'lost.ts');
    link('circle.ts', 'circle.ts');
    for (const pattern of ['.', '**/*.ts']) {
      const skipped: string[] = [];
      expect(names([pattern], folder, (file) => skipped.push(file))).toEqual(['a.ts', 'src/c.ts']);
      expect(skipped.sort()).toEqual(['circle.ts', 'deep', 'lost.ts'].map((name) => join(folder, name)));
    }
    // What they lead to may lie in the same project and not be matched itself.
    expect(names(['a*.ts'], folder)).toEqual(['a.ts', 'again.ts']);
    link('a.ts', 'twin.ts');
    expect(names(['*.ts', '!src/**'], folder)).toEqual(['a.ts', 'again.ts']);
  });

  it('skips builds below a project that lies in a build, however the glob is written', () => {
    const project = join(folderWith({ 'build/app/a.ts': 'a', 'build/app/build/x.ts': 'x' }), 'build/app');
    for (const patterns of [['**/*.ts'], absolutePatterns(['**/*.ts'], project), ['../../build/app/**/*.ts']])
      expect(names(patterns, project)).toEqual(['a.ts']);
    for (const patterns of [['*/build/*.ts'], absolutePatterns(['*/build/*.ts'], dirname(project))])
      expect(names(patterns, dirname(project))).toEqual(['app/build/x.ts']);
  });

  it('leaves out a file that is named and excluded, as where a shell expands a glob', () => {
    const folder = folderWith({ 'src/a.ts': 'a', 'src/.b.ts': 'b', 'src/c [1].ts': 'c' });
    const all = ['src/a.ts', 'src/.b.ts', 'src/c [1].ts'];
    expect(names([...all, '!src/a.ts'], folder)).toEqual(['src/.b.ts', 'src/c [1].ts']);
    expect(names([...all, '!src/c [1].ts', '!**/.*'], folder)).toEqual(['src/a.ts']);
    expect(names([...all, '!other/**'], folder)).toEqual(['src/.b.ts', 'src/a.ts', 'src/c [1].ts']);
    // Also beside the working directory.
    const beside = folderWith({ 'lib/test/a.ts': 'a', 'lib/b.ts': 'b', 'app/c.ts': 'c' });
    const named = ['../lib/test/a.ts', '../lib/b.ts', '!**/test/**'];
    expect(names(named, join(beside, 'app'))).toEqual(['../lib/b.ts']);
  });

  it('leaves out what early-exit wrote unless a file or its folder is named', () => {
    const card = '---\nlibrary_name: transformers\ntags: [early-exit]\n---\n# plain\n';
    const folder = folderWith({
      'README.md': '# mine, with tags: [early-exit]\n',
      'my.exits/exits.json': '{}',
      'my.exits/exits.safetensors': '',
      'my.exits/README.md': '# Early exits',
      'my.exits/state/notes.txt': 'state',
      'plain/README.md': card,
      'plain/merges.txt': 'a b',
    });
    expect(names(['**/*.{md,txt}'], folder)).toEqual(['README.md']);
    const skipped: string[] = [];
    expect(names(['.'], folder, (file, reason) => skipped.push(`${file} ${reason}`))).toEqual(['README.md']);
    expect(skipped).toEqual(['my.exits', 'plain'].map((name) => `${join(folder, name)} early-exit wrote it`));
    expect(names(['my.exits/README.md', 'plain'], folder)).toEqual([
      'my.exits/README.md',
      'plain/README.md',
      'plain/merges.txt',
    ]);
    expect(names(['plain/*.md', 'my.exits/**/*.txt'], folder)).toEqual(['my.exits/state/notes.txt', 'plain/README.md']);
    expect(caught(() => names(['p*/*.md'], folder)).message).toBe(
      `All that matches p*/*.md in ${folder} was written by early-exit.`,
    );
  });

  it('takes a folder with an exits.json of another program', () => {
    const folder = folderWith({ 'routes/exits.json': '{"north": 1}', 'routes/a.md': 'a' });
    expect(names(['**/*.md'], folder)).toEqual(['routes/a.md']);
  });

  it('reads a glob from any folder as from that where it begins, whatever early-exit wrote there', () => {
    const folder = folderWith({ 'a (b)/exits.json': '{}', 'a (b)/exits.safetensors': '', 'a (b)/src/c.ts': 'c' });
    const project = join(folder, 'a (b)');
    const [absolute] = absolutePatterns(['**/*.ts'], project);
    const files = [join(project, 'src', 'c.ts')];
    for (const [pattern, directory] of [
      ['**/*.ts', project],
      ['src/*.ts', project],
      ['../src/*.ts', join(project, 'src')],
      [absolute!, project],
      [absolute!, folder],
      [absolute!, join(project, 'src')],
    ] as const)
      expect(readDocuments([pattern], { directory }).files).toEqual(files);
  });

  it.each(['plain', 'p (copy)', 'p [x]{y}'])('leaves out what is excluded, also in a folder named %s', (name) => {
    const all = ['src/a.ts', 'src/t.ts', 'src/own/a.ts', 'src/own/t.ts', 'notes/[draft].md', 'notes/d.md'];
    const project = join(folderWith(Object.fromEntries(all.map((file) => [`${name}/${file}`, file]))), name);
    const src = all.slice(0, 4).sort();
    for (const [patterns, expected] of [
      [
        ['src', '!src/own/**'],
        ['src/a.ts', 'src/t.ts'],
      ],
      [
        ['src', '!src/own'],
        ['src/a.ts', 'src/t.ts'],
      ],
      [
        ['src', '!./src/t.ts'],
        ['src/a.ts', 'src/own/a.ts', 'src/own/t.ts'],
      ],
      [
        ['src', '!**/t.ts'],
        ['src/a.ts', 'src/own/a.ts'],
      ],
      [['src', '!notes/**'], src],
      [['src/own', '!src/**/t.ts'], ['src/own/a.ts']],
      [['src/own/*.ts', '!*/own/t.ts'], ['src/own/a.ts']],
      [['notes', '!notes/[draft].md'], ['notes/d.md']],
      [['notes', '!notes/[d]*'], ['notes/[draft].md']],
    ] as [string[], string[]][]) {
      const files = expected.map((file) => join(project, file));
      expect([patterns, readDocuments(patterns, { directory: project }).files]).toEqual([patterns, files]);
      expect([patterns, readDocuments(absolutePatterns(patterns, project)).files]).toEqual([patterns, files]);
    }
    expect(caught(() => readDocuments(['src/own', '!src'], { directory: project })).message).toMatch(
      /^No file matches/,
    );
  });

  it('globs with forward slashes on Windows, where only those of absolute patterns are escaped', async () => {
    const globSync = vi.fn<(glob: string, options: { cwd: string; ignore: string[] }) => string[]>(() => []);
    vi.doMock('node:path', async (original) => (await original<typeof nodePath>()).win32);
    vi.doMock('tinyglobby', async (original) => ({ ...(await original<object>()), globSync }));
    onTestFinished(() => {
      vi.doUnmock('node:path');
      vi.doUnmock('tinyglobby');
      vi.resetModules();
    });
    vi.resetModules();
    const windows = await import('../../../../backend/data/texts/documents.ts');
    const directory = 'C:\\p (copy)';
    const patterns = ['src\\*.ts', '!src\\own\\**'];
    const absolute = windows.absolutePatterns(patterns, directory);
    expect(absolute).toEqual(['C:/p \\(copy\\)/src/*.ts', '!C:/p \\(copy\\)/src/own/**']);
    for (const given of [patterns, absolute]) {
      expect(() => windows.readDocuments(given, { directory })).toThrow('No file matches');
      const [glob, { cwd, ignore }] = globSync.mock.lastCall!;
      expect([glob, cwd]).toEqual(['*.ts', 'C:\\p (copy)\\src']);
      expect(ignore).toContain('C:/p \\(copy\\)/src/own/**');
    }
  });

  it('leaves out what is binary, not UTF-8 or empty, and says so', () => {
    const folder = folderWith({
      'a.txt': '\ufeffgood',
      'b.bin': Uint8Array.of(1, 0, 2),
      'c.txt': Uint8Array.of(0x61, 0xff, 0x61),
      'd.txt': ' \n',
      'e.txt': Uint8Array.of(0x61, 0xc3),
    });
    const skipped: string[] = [];
    expect(names(['.'], folder, (file, reason) => skipped.push(`${file.slice(folder.length + 1)} ${reason}`))).toEqual([
      'a.txt',
    ]);
    expect(skipped).toEqual([
      'b.bin it is binary',
      'c.txt it is not UTF-8 text',
      'd.txt it is empty',
      'e.txt it is not UTF-8 text',
    ]);
    expect([...readDocuments(['a.txt'], { directory: folder })][0]).toMatchObject({ text: 'good' });
    expect(caught(() => names(['b.bin'], folder)).message).toBe(`${join(folder, 'b.bin')} holds no text.`);
    expect(caught(() => names(['b.bin', 'c.txt', 'd.txt'], folder)).message).toMatch(
      /None of the 3 files holds text \(3 are binary or empty/,
    );
  });

  it('takes nothing of a long file that turns binary late', () => {
    const long = 'a line\n'.repeat(700_000);
    const folder = folderWith({ 'a.txt': 'a', 'late.txt': `${long}\0` });
    const skipped: string[] = [];
    expect(names(['.'], folder, (file) => skipped.push(file))).toEqual(['a.txt']);
    expect(skipped).toEqual([join(folder, 'late.txt')]);
  });

  it('says which pattern matches nothing', () => {
    const folder = folderWith({ 'a.txt': 'a' });
    expect(caught(() => readDocuments(['a.txt', '*.py'], { directory: folder }))).toMatchObject({
      code: 'not-found',
      message: `No file matches *.py in ${folder}.`,
    });
    expect(caught(() => readDocuments(['!a.txt'], { directory: folder })).message).toBe('There is no data.');
  });

  it('says which folder cannot be read, and of one among others that it is left out', () => {
    const folder = folderWith({ 'a.txt': 'a', 'closed/b.txt': 'b' });
    chmodSync(folder, 0o755);
    chmodSync(join(folder, 'closed'), 0);
    const closed = join(folder, 'closed');
    const skipped: string[] = [];
    unprivileged(() => {
      const message = `Cannot read ${closed}: permission is denied.`;
      expect(caught(() => readDocuments(['closed'], { directory: folder })).message).toBe(message);
      expect(caught(() => readDocuments(['*/b.txt'], { directory: folder })).message).toBe(message);
      expect(names(['.'], folder, (file, reason) => skipped.push(`${file} ${reason}`))).toEqual(['a.txt']);
    });
    expect(skipped).toEqual([`${closed} it cannot be read`]);
  });

  it('reads JSON lines of texts and conversations, across chunks', () => {
    const long = 'é'.repeat(700_000);
    const messages = [{ role: 'user', content: 'hi', name: 'x' }];
    const lines = [{ text: long }, { text: ' ' }, { messages }, { text: long }].map((line) => JSON.stringify(line));
    const folder = folderWith({ 'a.jsonl': `\n${lines.join('\n\r\n')}` });
    expect([...readDocuments(['a.jsonl'], { directory: folder })]).toEqual([
      { kind: 'text', name: 'a.jsonl:2', text: long },
      { kind: 'chat', name: 'a.jsonl:6', messages },
      { kind: 'text', name: 'a.jsonl:8', text: long },
    ]);
  });

  it.each([
    ['{"text": "a"', /is not JSON/],
    ['"text"', /is not a JSON object/],
    ['{"prompt": "a"}', /has neither "text" nor "messages"/],
    ['{"messages": []}', /messages without a text/],
    ['{"messages": [{"role": "user", "content": [1]}]}', /messages without a text/],
  ])('refuses the line %s and names it', (line, message) => {
    const folder = folderWith({ 'a.jsonl': `{"text":"fine"}\n${line}\n` });
    const error = caught(() => names(['a.jsonl'], folder));
    expect(error.message).toMatch(message);
    expect(error.message).toContain(`Line 2 of ${join(folder, 'a.jsonl')}`);
  });

  it('cuts an enormous text between lines without losing any of it', () => {
    const text = Array.from({ length: 200_000 }, (_, i) => `line ${i} is here, with an é and 🙂`).join('\n');
    const folder = folderWith({ 'big.txt': text });
    const documents = [...readDocuments(['big.txt'], { directory: folder })];
    expect(documents.map(({ name }) => name)).toEqual(['big.txt', 'big.txt#2']);
    const texts = documents.map((document) => (document.kind === 'text' ? document.text : ''));
    expect(texts.join('')).toBe(text);
    expect(texts[1]).toMatch(/^line \d+ is/);
  });
});
