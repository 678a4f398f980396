/** `/v1/embeddings`: OpenAI's request and answer. Vectors are of length 1. Whatever model is named: clients have names that they cannot change. */
import { userError } from '../../../protocol/errors.ts';
import type { ServedPrompt } from '../../../protocol/serving.ts';
import type { WrittenText } from './answers.ts';
import type { Endpoint } from './endpoint.ts';
import { badField, refuseFields, textField, type Body } from './fields.ts';
import { promptsField, requestOf } from './requests.ts';
import type { Served } from '../served.ts';

export function embeddings(body: Body, served: Served): Endpoint {
  const format = body['encoding_format'] ?? 'float';
  if (format !== 'float' && format !== 'base64') throw badField('encoding_format', 'float or base64', format);
  const pooling = poolingOf(body, served);
  const request = vectorRequest(body, served, promptsField({ prompt: body['input'] }, 'input'), pooling);
  return {
    request,
    stream: null,
    whole(texts) {
      const tokens = texts.reduce((sum, { promptTokens }) => sum + promptTokens, 0);
      return {
        object: 'list',
        model: served.name,
        data: texts.map(({ embedding }, index) => ({
          object: 'embedding',
          index,
          embedding: format === 'base64' ? base64Of(embedding!) : numbersOf({ embedding }),
        })),
        usage: { prompt_tokens: tokens, total_tokens: tokens },
        early_exit: { exit: pooling.exit ?? 'final', pooling: pooling.pooling },
      };
    },
    piece: () => [],
    usage: () => null,
  };
}

type Pooling = NonNullable<Endpoint['request']['embedding']>;

/** Prompts that are only read. All of a vector is given. */
export function vectorRequest(
  body: Body,
  served: Served,
  prompts: readonly ServedPrompt[],
  embedding: Pooling,
): Endpoint['request'] {
  refuseFields(body, { dimensions: () => false });
  return requestOf(body, served, { prompts, maxTokens: 0, embedding });
}

export const fullDepth: Pooling = { exit: null, pooling: 'mean' };

/** `pooling`: mean or last; `exit`: at an exit's cut, `8:lens` or `8`, instead of behind the last layer. */
function poolingOf(body: Body, { model }: Served): Pooling {
  const pooling = textField(body, 'pooling') ?? 'mean';
  if (pooling !== 'mean' && pooling !== 'last') throw badField('pooling', 'mean or last', pooling);
  const name = textField(body, 'exit') ?? 'final';
  if (name === 'final') return { exit: null, pooling };
  const exit = model.exits.find((each) => each === name || each.split(':')[0] === name);
  if (exit === undefined)
    throw userError(
      'bad-argument',
      `There is no exit ${JSON.stringify(name.slice(0, 100))}.`,
      model.exits.length === 0 ? 'Give the server some with --exits.' : `The exits are ${model.exits.join(', ')}.`,
    );
  return { exit, pooling };
}

export const numbersOf = ({ embedding }: Pick<WrittenText, 'embedding'>): number[] => [...embedding!];

const base64Of = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('base64');
