/** Where a model lies that an option names: a path as it is, a hub id once it is downloaded. */
import type { ProgressEvent, WarningEvent } from '../../protocol/events.ts';
import { resolveModel } from '../data/hub.ts';
import { reporting } from './reporting.ts';

/** Yields the download, where there is one, and what of it could not be checked. @throws UserError where there is no such model. */
export async function* locateModel(
  reference: string,
  signal: AbortSignal,
): AsyncGenerator<ProgressEvent | WarningEvent, string> {
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  const path = yield* reporting('download', 'bytes', (onProgress) =>
    resolveModel(reference, { onProgress, onWarning, signal }),
  );
  for (const message of warnings) yield { type: 'warning', message };
  return path;
}
