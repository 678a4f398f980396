/** The location of a model that an option names: a path as it is, a hub id after its download. */
import type { ProgressEvent, WarningEvent } from '../../../protocol/events.ts';
import { ggufTokenizerKind } from '../../data/tokenizer/gguf.ts';
import { loadTokenizer } from '../../data/tokenizer/tokenizer.ts';
import { readGgufBeginning } from '../../formats/gguf.ts';
import { localModel, resolveModel, type ResolveOptions } from '../../hub/hub.ts';
import { configuredModel } from '../../model/configured.ts';
import { ggufArchitecture } from '../../model/families/gguf.ts';
import { reporting } from '../reporting.ts';

/**
 * Yields the download, if there is one, and what could not be checked of it. `beforeDownload` checks what would be in vain without.
 * @throws UserError if the model does not exist, and what `beforeDownload` throws.
 */
export async function* locateModel(
  reference: string,
  signal: AbortSignal,
  beforeDownload: () => void = () => {},
): AsyncGenerator<ProgressEvent | WarningEvent, string> {
  if (localModel(reference) === null) beforeDownload();
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  const path = yield* reporting('download', 'bytes', (onProgress) =>
    modelHere(reference, { onProgress, onWarning, signal }),
  );
  for (const message of warnings) yield { type: 'warning', message };
  return path;
}

/** The path of a model, downloaded if need be: one of a kind that is not supported is refused before its weights come. */
export const modelHere = (
  reference: string,
  options: Omit<ResolveOptions, 'inspect' | 'inspectGguf'>,
): Promise<string> =>
  resolveModel(reference, {
    ...options,
    inspect(folder) {
      configuredModel(folder);
      loadTokenizer(folder);
    },
    inspectGguf(part, file) {
      readGgufBeginning(part, (metadata) => {
        // Ahead of the vocabulary, in what current programs write.
        if (metadata.get('general.architecture') !== undefined) ggufArchitecture({ file, metadata });
        if (metadata.get('tokenizer.ggml.model') !== undefined) ggufTokenizerKind(file, metadata);
      });
    },
  });
