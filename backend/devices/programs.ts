/** Programs of this machine, and how they are started: by absolute path, in a folder that no other user writes to. */
import { accessSync, constants, statSync } from 'node:fs';
import { childEnvironment, findProgram } from '../../protocol/programs.ts';

/** The absolute path of a program of this machine, or null; see `findProgram`. */
export const programPath = (name: string): string | null =>
  findProgram(name, { platform: process.platform, environment: process.env, isProgram });

/** Environment of a program that is started in `folder`, which must be ours: Python, Node and Windows search their working directory. */
export const startedIn = (folder: string): { readonly cwd: string; readonly env: Record<string, string> } => ({
  cwd: folder,
  env: childEnvironment(process.platform),
});

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
