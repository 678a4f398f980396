/** How this copy of the program was installed, and so which command calls it or adds a package to it. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot, platformPackage, versionIn } from '../system/installed.ts';

export { packageRoot, versionIn };

/** `clone`: run from the repository; `npm`: installed from its tarball; `extension`: unpacked by the editor from its .vsix. */
export interface Installation {
  readonly kind: 'clone' | 'npm' | 'extension';
  /** The folder of package.json. */
  readonly root: string;
}

/** A clone has its sources, and only npm needs to know the command's name. */
export function thisInstallation(root: string = packageRoot()): Installation {
  if (existsSync(path.join(root, 'backend'))) return { kind: 'clone', root };
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { bin?: unknown };
  return { kind: manifest.bin === undefined ? 'extension' : 'npm', root };
}

/** What calls the command line here: an editor's copy is not on the PATH. */
export function commandOf({ kind, root }: Installation): string {
  switch (kind) {
    case 'clone':
      return 'npx early-exit';
    case 'npm':
      return 'early-exit';
    case 'extension':
      return `node ${quoted(path.join(root, 'dist', 'cli.js'))}`;
  }
}

/** The command that installs a package for this copy of the program, and changes nothing else. */
export function installationOf(packageName: string, { kind, root }: Installation): string {
  const where = kind === 'clone' ? '' : `--omit=dev --prefix ${quoted(root)} `;
  return `npm install --no-save ${where}${packageName}`;
}

/** What brings the libraries of this platform, as this copy came here. */
export function librariesOf({ kind, root }: Installation): string {
  const name = platformPackage.replace('@', '').replace('/', '-');
  switch (kind) {
    case 'clone':
      return 'npm ci';
    case 'npm':
      return `npm install ${isInProject(root) ? '' : '--global '}${name}-${versionIn(root)}.tgz`;
    case 'extension':
      return `code --install-extension ${name}.vsix`;
  }
}

/** Whether it was installed for a project, not for all of a user's. */
const isInProject = (root: string): boolean => existsSync(path.resolve(root, '../../package.json'));

const quoted = (file: string): string => `"${file}"`;
