/** The decoding options of a request's text, from the request or else from the server. */
import { modelName } from '../../model/open.ts';
import { parseOptions, type GenerateOptions, type ServeOptions } from '../../../protocol/options/options.ts';

/** How clients call the served model. */
export const servedName = ({ alias, model }: ServeOptions): string =>
  alias ?? modelName(model).replace(/\.(gguf|safetensors)$/i, '');

export function servedGeneration(options: ServeOptions): GenerateOptions {
  const { model, exits, device, gpuLayers, threads, precision, maxTokens } = options;
  const { mode, tokenHealing, drafts, deferred, promptExit, policy, threshold, patience, disable, head } = options;
  const { temperature, topK, topP, minP, repetitionPenalty } = options;
  return {
    ...parseOptions('generate', {}),
    ...{ model, exits, device, gpuLayers, threads, precision, maxTokens },
    ...{ mode, tokenHealing, drafts, deferred, promptExit, policy, threshold, patience, disable, head },
    ...{ temperature, topK, topP, minP, repetitionPenalty },
  };
}
