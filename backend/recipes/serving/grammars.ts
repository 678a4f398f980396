/** Grammars that requests ask for, opened in steps and remembered: what is known of their states serves the next request, too. */
import type { ServedGrammar } from '../../../protocol/serving.ts';
import type { Allowed } from '../../data/prompts/allowed.ts';
import type { Steps } from '../../data/steps.ts';
import { badGrammar } from '../../grammar/code.ts';
import { openGrammar } from '../../grammar/constraint.ts';
import type { Rules } from '../../grammar/expression.ts';
import { parseGbnf } from '../../grammar/gbnf.ts';
import { jsonObjectRules, schemaRules } from '../../grammar/json-schema.ts';
import { readVocabulary, type TokenTexts, type Vocabulary } from '../../grammar/vocabulary.ts';

export interface Grammars {
  /** @throws UserError for one that cannot be used. */
  open(grammar: ServedGrammar, ends: readonly number[]): Steps<Allowed>;
}

const mostKept = 8;
/** Longer ones would be read for too long at once. */
const mostCharacters = 262_144;

export function newGrammars(tokenizer: TokenTexts): Grammars {
  let vocabulary: Vocabulary | null = null;
  const kept = new Map<string, Allowed>();
  return {
    *open(grammar, ends) {
      const key = JSON.stringify([grammar, ends]);
      if (key.length > mostCharacters) throw badGrammar(`it is longer than ${mostCharacters} characters`);
      let opened = kept.get(key);
      if (opened === undefined) {
        const rules = rulesOf(grammar);
        vocabulary ??= yield* readVocabulary(tokenizer);
        opened = yield* openGrammar(rules, tokenizer, vocabulary, ends);
      }
      // The most recently used is dropped last.
      kept.delete(key);
      kept.set(key, opened);
      for (const oldest of kept.keys()) if (kept.size > mostKept) kept.delete(oldest);
      return opened;
    },
  };
}

function rulesOf(grammar: ServedGrammar): Rules {
  switch (grammar.kind) {
    case 'gbnf':
      return parseGbnf(grammar.text);
    case 'object':
      return jsonObjectRules;
    case 'schema':
      return schemaRules(grammar.schema, grammar.around);
  }
}
