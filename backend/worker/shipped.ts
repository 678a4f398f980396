/** The model that ships in the package. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { shippedModel } from '../../protocol/options-groups.ts';
import { packageRoot } from '../recipes/installation.ts';

/** The folder of the model that ships where it is meant by name; any other model as it is. */
export const resolveModel = (model: string): string =>
  model === shippedModel && !existsSync(model) ? path.join(packageRoot(), 'models', shippedModel) : model;
