/** The configuration of a Hugging Face directory, its family, and the model that it describes. Knows no weights. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import { shownValue } from '../../protocol/foreign.ts';
import { readText } from '../system/files.ts';
import { Config } from './families/config.ts';
import type { Family } from './families/family.ts';
import { familyOf } from './families/index.ts';
import type { ModelSpec } from './spec.ts';

export interface ConfiguredModel {
  readonly config: Config;
  readonly family: Family;
  readonly spec: ModelSpec;
}

/** The model of a directory; its weights need not be there. @throws UserError for a configuration that cannot be used. */
export function configuredModel(path: string): ConfiguredModel {
  const file = join(path, 'config.json');
  if (!existsSync(file))
    throw userError('bad-model', `${path} has no config.json.`, 'Give a Hugging Face model directory or a GGUF file.');
  const config = new Config(file, parseObject(file));
  refuseQuantised(config);
  const family = familyOf(config);
  return { config, family, spec: family.spec(config) };
}

/** Weights in FP8, or in the blocks of GPTQ, AWQ, bitsandbytes and others, lie under names and in forms of their own. */
function refuseQuantised(config: Config): void {
  const quantisation = config.object('quantization_config');
  if (quantisation === null) return;
  const method = quantisation.has('quant_method') ? quantisation.text('quant_method', '') : 'something';
  throw userError(
    'unsupported',
    `${config.file}: its weights are quantised by ${shownValue(method)} ("quantization_config"), which is not supported.`,
    'Take the model’s weights in BF16 or F16, or a GGUF file of it (Q4_K_M, Q8_0, MXFP4 and others).',
  );
}

function parseObject(file: string): Record<string, unknown> {
  const text = readText(file);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw userError('bad-model', `${file} is not readable JSON.`, 'Get the model’s original configuration.', cause);
  }
  throw userError('bad-model', `${file} does not hold a JSON object.`, 'Get the model’s original configuration.');
}
