/**
 * Whether ggml computes on this machine, tried in a process of its own: an assertion in a library, or an instruction that the processor
 * lacks, ends the process. Tried once for each version and processor, and remembered in the user's cache.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import path from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { makeFolder } from '../system/files.ts';
import { missingLibraries, nativePackage, platformPackage } from '../system/installed.ts';
import { userCache } from '../system/user-cache.ts';
import { libraryFolder, packageName, packageVersion } from './packages.ts';

/** The folder of the libraries, or one sentence about why they cannot be used. */
export type GgmlProbe = { readonly folder: string } | { readonly problem: string };

const timeLimit = 60_000;

let known: GgmlProbe | null = null;

/** Tried once per process. */
export function probeGgml(): GgmlProbe {
  known ??= ask();
  return known;
}

/** The folder of the libraries. @throws UserError `device` naming the package that is missing, or what ggml fails at here. */
export function requireGgml(): string {
  const probe = probeGgml();
  if ('folder' in probe) return probe.folder;
  const missing = ggmlPackage();
  throw userError(
    'device',
    `Models are computed by ggml, and ${probe.problem}.`,
    missing === null
      ? 'See "early-exit doctor" for what this machine has.'
      : `Install ${missing}: "early-exit doctor" names the command.`,
  );
}

/** Why ggml does not compute on this machine, and the package to install if it is missing; null if it does. */
export function ggmlProblem(): { readonly problem: string; readonly packages: string | null } | null {
  const probe = probeGgml();
  return 'problem' in probe ? { problem: probe.problem, packages: ggmlPackage() } : null;
}

/** The package to install, if a part of ggml is missing; null if nothing is, or if there is no package. */
function ggmlPackage(): string | null {
  const isMissing = libraryFolder() === null || nativePackage('koffi') === null;
  return isMissing && packageName() !== null ? platformPackage : null;
}

function ask(): GgmlProbe {
  const folder = libraryFolder();
  const koffi = nativePackage('koffi');
  if (folder === null || koffi === null) {
    if (packageName() === null)
      return { problem: `there are no libraries of ggml for ${process.platform}-${process.arch}` };
    return { problem: missingLibraries() };
  }
  const key = JSON.stringify([packageVersion, folder, cpus()[0]?.model, process.versions.modules]);
  const file = path.join(userCache(), 'ggml-probe.json');
  if (isRemembered(file, key)) return { folder };
  const problem = tryOut(koffi, folder);
  // A failure may be mended, so it is tried again.
  if (problem === '') remember(file, key);
  return problem === '' ? { folder } : { problem };
}

function tryOut(koffi: string, folder: string): string {
  const child = spawnSync(process.execPath, ['-e', program, koffi, folder], { timeout: timeLimit, encoding: 'utf8' });
  if (child.stdout?.includes(mark)) return '';
  if (child.error) return `ggml could not be tried: ${child.error.message}`;
  const lastLine = child.stderr.trim().split('\n').at(-1) ?? '';
  return child.signal ? `ggml crashed (${child.signal}): ${lastLine}` : `ggml does not run here: ${lastLine}`;
}

const mark = '@early-exit@';

/** Loads the libraries, opens the CPU and closes it. */
const program = `
const [koffi, folder] = [require(process.argv[1]), process.argv[2]];
const { readdirSync } = require('node:fs');
const load = (pattern) => koffi.load(require('node:path').join(folder, readdirSync(folder).find((file) => pattern.test(file))));
const base = load(/^(lib)?ggml-base\\b.*\\.(so|dylib|dll)$/);
const top = load(/^(lib)?ggml(\\.[\\w.]+)?\\.(so|dylib|dll)$/);
top.func('void ggml_backend_load_all_from_path(const char *dir)')(folder);
const backend = top.func('void *ggml_backend_init_by_type(int type, const char *p)')(0, null);
if (!backend) throw new Error('it has no CPU for this processor');
base.func('void ggml_backend_free(void *b)')(backend);
process.stdout.write('${mark}');`;

function isRemembered(file: string, key: string): boolean {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return typeof value === 'object' && value !== null && 'key' in value && value.key === key;
  } catch {
    return false;
  }
}

function remember(file: string, key: string): void {
  try {
    makeFolder(path.dirname(file));
    // A half-written file is no JSON, and is written again: a temporary name would stay if the process is killed meanwhile.
    writeFileSync(file, JSON.stringify({ key }), { mode: 0o600 });
  } catch {
    // A cache that cannot be written costs a child process each time, and nothing else.
  }
}
