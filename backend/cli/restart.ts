/** Starts this program again where what runs models wants another environment. */
import { largePages } from '../../protocol/large-pages.ts';

/** Of Node 22.15 and newer, which `engines` does not ask for. */
type Execve = (file: string, words: readonly string[], environment: NodeJS.ProcessEnv) => never;

/**
 * Begins anew with large pages, as the same process: number, terminal and signals stay. Returns where that is not needed or
 * this Node cannot.
 */
export function restartWithLargePages(): void {
  const { execve } = process as { execve?: Execve };
  const wanted = largePages(process.env, process.platform);
  if (!execve || process.connected || Object.keys(wanted).length === 0) return;
  const words = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  execve(process.execPath, words, { ...process.env, ...wanted });
}
