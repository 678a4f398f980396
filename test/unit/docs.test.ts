/** What the pages for people name is there: files, tests, links and their headings. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { tensorTypes } from '../../backend/formats/gguf.ts';
import { architectures } from '../../backend/model/families/gguf.ts';
import { families } from '../../backend/model/families/index.ts';

const root = path.resolve(import.meta.dirname, '../..');
const docs = readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md'));
const pages = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', ...docs.map((name) => `docs/${name}`)];
const read = (page: string): string => readFileSync(path.join(root, page), 'utf8');

/** As GitHub and editors make them from headings. */
const slugs = (page: string): string[] =>
  [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** `test/unit/x.test.ts`, or a file named from the root or from backend/; patterns and placeholders aside. */
const namedFiles = (page: string): string[] =>
  [...read(page).matchAll(/`([\w@./-]+\/[\w.-]+\.(?:ts|mjs|py))`/g)].map(([, file]) => file!);

describe.each(pages)('%s', (page) => {
  it('names files that exist', () => {
    const missing = namedFiles(page).filter(
      (file) => !['', 'backend'].some((at) => existsSync(path.join(root, at, file))),
    );
    expect(missing).toEqual([]);
  });

  it('has links that lead somewhere', () => {
    const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
    const broken = links.filter((link) => {
      if (/^(https?|mailto):/.test(link)) return false;
      const [file, heading] = link.split('#') as [string, string | undefined];
      const target = file === '' ? page : path.posix.join(path.posix.dirname(page), file);
      if (!existsSync(path.join(root, target))) return true;
      return heading !== undefined && !slugs(target).includes(heading);
    });
    expect(broken).toEqual([]);
  });
});

it('every drawing is shown on a page', () => {
  const drawings = readdirSync(path.join(root, 'docs/images')).filter((name) => name.endsWith('.svg'));
  expect(drawings.length).toBeGreaterThan(2);
  expect(drawings.filter((name) => !pages.some((page) => read(page).includes(`images/${name})`)))).toEqual([]);
});

it.each([
  ['docs/architecture.md', /^## What always holds\n([^]*?)^## /m, 15],
  ['docs/invariants.md', /^# What always holds\n([^]*)/m, 60],
])('every invariant of %s names the test that holds it', (page, pattern, fewest) => {
  const [, section] = pattern.exec(read(page))!;
  const lines = section!.split('\n').filter((line) => line.startsWith('- '));
  expect(lines.length).toBeGreaterThan(fewest);
  expect(lines.filter((line) => !/`test\/[\w./-]+\.(test|suite)\.ts`\.$/.test(line))).toEqual([]);
});

it('docs/architecture.md is short: 160 lines of 120 characters at most', () => {
  const lines = read('docs/architecture.md').trimEnd().split('\n');
  expect(lines.length).toBeLessThanOrEqual(160);
  expect(lines.filter((line) => line.length > 120)).toEqual([]);
});

it('every note of docs/lab.md begins with its day and a finding with a figure', () => {
  const [, ...sections] = read('docs/lab.md').split(/^##+ .*\n+/m);
  const notes = sections.filter((section) => section !== '');
  expect(notes.length).toBeGreaterThan(25);
  expect(notes.filter((note) => !/^\d{4}-\d\d-\d\d\. (?:[^.\n]|\.(?! ))*\d/.test(note))).toEqual([]);
});

it('docs/formats.md lists every family and every GGUF architecture that is read', () => {
  const listed = (before: string): string[] => {
    const [, names] = new RegExp(`${before}: ([\\w\\s,-]+)\\.`).exec(read('docs/formats.md'))!;
    return names!.split(/,\s+/);
  };
  expect(listed('Families, by `model_type`')).toEqual(families.flatMap(({ types }) => types).sort());
  expect(listed('GGUF architectures')).toEqual([...architectures.keys()].sort());
});

it('docs/formats.md lists every type of weights', () => {
  const [, types] = /^Weights run as they are stored: ([\w\s,]+)\./m.exec(read('docs/formats.md'))!;
  const listed = types!.split(/,\s+/);
  // Other plain types are of no weight.
  const known = Object.values(tensorTypes).filter((type) => !/^(I\d+|F64)$/.test(type));
  expect(listed.sort()).toEqual([...known].sort());
});

it('docs/formats.md lists every record that --json prints', () => {
  const [, section] = /^## `--json`\n([^]*)/m.exec(read('docs/formats.md'))!;
  const types = [...read('protocol/events.ts').matchAll(/\btype: '(\w+)'/g)].map(([, type]) => type!);
  // Those of progress go to standard error, and two are an editor's alone.
  const shown = types.filter((type) => !['phase', 'progress', 'warning', 'completed', 'explained'].includes(type));
  expect(shown.length).toBeGreaterThan(10);
  expect(shown.filter((type) => !section!.includes(`\`${type}\``))).toEqual([]);
});
