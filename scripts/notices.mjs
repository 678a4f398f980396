/** Licence notices of packages that go into ours, for the people who get them: name, version and the licence's text of each. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fail, root } from './set-up.mjs';

export const noticesFile = 'THIRD-PARTY-NOTICES';

const introduction = `Early Exit contains the packages below, or parts of them. Each is under its own licence.`;

export function writeNotices(folder, packages) {
  writeFileSync(path.join(folder, noticesFile), noticesOf(packages));
}

/** The notices of the packages in these folders, sorted by name; the same package of the same version once. */
export function noticesOf(packages) {
  const sections = new Map(packages.map(sectionOf));
  const sorted = [...sections].sort(([a], [b]) => (a < b ? -1 : 1));
  return [introduction, ...sorted.map(([title, text]) => `${'='.repeat(80)}\n${title}\n\n${text}`)].join('\n\n') + '\n';
}

function sectionOf(folder) {
  const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const { name, version, license } = manifest;
  const own = readdirSync(folder).filter((file) =>
    /^(licen[cs]e|notices?|third-?party-?notices?)(\.\w+)?$/i.test(file),
  );
  const files = [...own.sort().map((file) => path.join(folder, file)), ...addedTo(name)];
  const hasLicence = files.some((file) => !/notices?(\.\w+)?$|third-parties/i.test(file));
  const texts = [...(hasLicence ? [] : [standardText(manifest)]), ...files.map(readText)];
  return [`${name} ${version} (${license})`, texts.join(`\n\n${'-'.repeat(80)}\n\n`)];
}

const readText = (file) => readFileSync(file, 'utf8').replaceAll('\r\n', '\n').trim();

/** Texts that packages with libraries do not carry themselves: those of what was compiled into them. */
function addedTo(name) {
  const notices = path.join(root, 'natives/notices');
  const added = Object.entries({
    '@node-llama-cpp/': ['ggml.txt'],
    'onnxruntime-common': ['onnxruntime.txt'],
    'onnxruntime-node': ['onnxruntime.txt', 'onnxruntime-third-parties.txt'],
  }).find(([beginning]) => name.startsWith(beginning));
  return (added?.[1] ?? []).map((file) => path.join(notices, file));
}

/** The text of the licence that a manifest names, where its package has no file of it. */
function standardText({ name, license, author }) {
  const note = `The package has no file of its licence; its package.json says ${license}:`;
  const holder = (typeof author === 'string' ? author : author?.name) || `the authors of ${name}`;
  if (license === 'MIT') return `${note}\n\n${mitOf(holder)}`;
  if (license === 'Apache-2.0') return `${note}\n\nCopyright ${holder}\n\n${readText(path.join(root, 'LICENSE'))}`;
  return fail(`${name} has no file of its licence, and scripts/notices.mjs does not know the text of ${license}.`);
}

const mitOf = (holder) =>
  readText(path.join(root, 'natives/notices/onnxruntime.txt')).replace(/Copyright.*/, `Copyright (c) ${holder}`);
