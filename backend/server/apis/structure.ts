/** What a text must be, as OpenAI's clients and llama.cpp's ask for it. */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import type { ServedGrammar } from '../../../protocol/serving.ts';
import { badField, recordField, textField, type Body } from './fields.ts';

/** Null: anything. @throws UserError for more than one wish. */
export function grammarOf(body: Body): ServedGrammar | null {
  const gbnf = textField(body, 'grammar') ?? '';
  const schema = body['json_schema'];
  const grammars: ServedGrammar[] = [
    ...(gbnf === '' ? [] : [{ kind: 'gbnf', text: gbnf } as const]),
    ...(schema === undefined || schema === null ? [] : [plain(schemaOf('json_schema', schema))]),
    ...formatOf(body),
  ];
  if (grammars.length > 1)
    throw userError(
      'bad-argument',
      'grammar, json_schema and response_format exclude each other.',
      'Leave all but one out.',
    );
  return grammars[0] ?? null;
}

const plain = (schema: unknown): ServedGrammar => ({ kind: 'schema', schema, around: ['', ''] });

/** `{"type": "text"}`, `{"type": "json_object", "schema"?}`, `{"type": "json_schema", "json_schema": {"schema"}}`. */
function formatOf(body: Body): ServedGrammar[] {
  const format = recordField(body, 'response_format');
  if (format === undefined) return [];
  switch (format['type']) {
    case 'text':
      return [];
    case 'json_object': {
      const schema = format['schema'] ?? null;
      return [schema === null ? { kind: 'object' } : plain(schemaOf('response_format.schema', schema))];
    }
    case 'json_schema': {
      const named = recordField(format, 'json_schema');
      const schema = named?.['schema'] ?? format['schema'] ?? null;
      return [schema === null ? { kind: 'object' } : plain(schemaOf('response_format.json_schema.schema', schema))];
    }
    default:
      throw badField('response_format.type', 'text, json_object or json_schema', format['type']);
  }
}

function schemaOf(name: string, value: unknown): unknown {
  if (isRecord(value) || typeof value === 'boolean') return value;
  throw badField(name, 'a JSON schema', value);
}
