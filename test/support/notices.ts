/** What licence notices must hold, found without the lists that they are made of. */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';

/**
 * The folders of packages that went into these bundles, which are not minified: esbuild writes the file's name above its code, as seen from
 * `root`, where it ran.
 */
export function bundledFolders(bundles: readonly string[], root: string): string[] {
  const folders = bundles.flatMap((file) => {
    const names = readFileSync(file, 'utf8').matchAll(
      /^\s*(?:\/\/ |")(.*node_modules\/(?:@[^/\s]+\/)?[^/\s]+)\/\S+\.[cm]?[jt]s"?/gm,
    );
    return [...names].map(([, folder]) => path.join(root, folder!));
  });
  const existing = folders.filter((folder) => existsSync(path.join(folder, 'package.json')));
  return [...new Set(existing.map((folder) => realpathSync(folder)))];
}

/** What a package must have in the notices: its title, and the text of its licence. */
export function expectedOf(folder: string): { readonly title: string; readonly text: string } {
  const { name, version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as {
    readonly name: string;
    readonly version: string;
    readonly license: string;
  };
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  const standard: Record<string, string> = {
    MIT: 'THE SOFTWARE IS PROVIDED "AS IS"',
    'Apache-2.0': 'END OF TERMS AND CONDITIONS',
  };
  const text = file === undefined ? standard[license]! : readFileSync(path.join(folder, file), 'utf8');
  return { title: `${name} ${version} (${license})`, text: text.replaceAll('\r\n', '\n').trim() };
}

/** The section of each title. */
export function sectionsOf(notices: string): Map<string, string> {
  const sections = notices.split(`${'='.repeat(80)}\n`).slice(1);
  return new Map(
    sections.map((section) => {
      const end = section.indexOf('\n');
      return [section.slice(0, end), section.slice(end)];
    }),
  );
}

/** Titles of packages that the notices lack, or whose licence's text they lack. */
export function missingIn(notices: string, folders: readonly string[]): string[] {
  const sections = sectionsOf(notices);
  return folders
    .map(expectedOf)
    .filter(({ title, text }) => !sections.get(title)?.includes(text))
    .map(({ title }) => title);
}
