/** Where a model lies that an option names: a path as it is, a hub id once it is downloaded. */
import type { ProgressEvent } from '../../protocol/events.ts';
import { resolveModel } from '../data/hub.ts';
import { reporting } from './reporting.ts';

/** Yields the download, where there is one. @throws UserError where there is no such model. */
export const locateModel = (reference: string, signal: AbortSignal): AsyncGenerator<ProgressEvent, string> =>
  reporting('download', 'bytes', (report) => resolveModel(reference, { onProgress: report, signal }));
