/** The hash by which checkpoints know a model's weights; remembered, since a large model takes seconds. */
import { openModel } from '../../model/open.ts';
import { identify } from './opened.ts';

/** @throws UserError for a model that cannot be opened. */
export async function modelHash(path: string, signal?: AbortSignal): Promise<string> {
  const model = openModel(path);
  try {
    return (await identify(model, signal)).sha256;
  } finally {
    model.close();
  }
}
