/** A clone of this working tree with its packages, to be packed from: without what is built, so that nothing old is packed. */
import { cpSync, symlinkSync } from 'node:fs';
import path from 'node:path';

export const repository = path.resolve(import.meta.dirname, '../..');

const left = new Set(['node_modules', 'dist', 'THIRD-PARTY-NOTICES', '.git', '.cache', '.vscode-test', 'coverage']);

export function cloneInto(folder: string): void {
  const isSource = (file: string): boolean =>
    !left.has(path.relative(repository, file)) && !/\.(vsix|tgz|exits)$/.test(file);
  cpSync(repository, folder, { recursive: true, filter: isSource });
  symlinkSync(path.join(repository, 'node_modules'), path.join(folder, 'node_modules'));
}
