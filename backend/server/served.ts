/** What every endpoint is given: the model, its name, and the server's options. */
import type { GenerateOptions } from '../../protocol/options/options.ts';
import type { ServedModel } from '../../protocol/serving.ts';

export interface Served {
  readonly model: ServedModel;
  /** How the model is called here. */
  readonly name: string;
  /** Defaults of a request. */
  readonly options: GenerateOptions;
}
