/** The decoding options of a request's text, from the request or else from the server. */
import { parseOptions, type GenerateOptions, type ServeOptions } from '../../../protocol/options.ts';

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
