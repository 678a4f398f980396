/** All families by `model_type`. A new one is a file here, a line in this table and a golden test. */
import type { Config } from './config.ts';
import type { Family } from './family.ts';
import { cohere } from './cohere.ts';
import { gemma, gemma2 } from './gemma.ts';
import { gemma3 } from './gemma3.ts';
import { glm4 } from './glm4.ts';
import { gpt2, gptNeoX } from './gpt.ts';
import { gptOss } from './gpt-oss.ts';
import { granite, graniteMoe } from './granite.ts';
import { llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3 } from './llama.ts';
import { ministral3 } from './ministral3.ts';
import { mixtral } from './mixtral.ts';
import { olmoe } from './olmoe.ts';
import { phi } from './phi.ts';
import { qwen2Moe, qwen3Moe } from './qwen-moe.ts';
import { stablelm } from './stablelm.ts';
import { starcoder2 } from './starcoder2.ts';
import { unknownFamily } from './unknown.ts';

export const families: readonly Family[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  olmo2,
  smollm3,
  phi3,
  gemma3,
  gpt2,
  gptNeoX,
  gemma,
  gemma2,
  granite,
  starcoder2,
  cohere,
  glm4,
  stablelm,
  phi,
  ministral3,
  qwen3Moe,
  qwen2Moe,
  mixtral,
  olmoe,
  graniteMoe,
  gptOss,
];

/** @throws UserError for an unknown `model_type`. */
export function familyOf(config: Config): Family {
  const type = config.text('model_type', '');
  const family = families.find(({ types }) => types.includes(type));
  if (family) return family;
  const known = families.flatMap(({ types }) => types);
  throw unknownFamily(config.file, 'model type', type, config.keys(), known);
}
