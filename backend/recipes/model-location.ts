/** The location of a model that an option names: a path as it is, a hub id after its download. */
import type { ProgressEvent, WarningEvent } from '../../protocol/events.ts';
import { resolveModel } from '../hub/hub.ts';
import { reporting } from './reporting.ts';

/** Yields the download, if there is one, and what could not be checked of it. @throws UserError if the model does not exist. */
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
