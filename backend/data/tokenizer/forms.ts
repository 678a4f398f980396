/**
 * A tokenizer in the other format than its base's: that of a Hugging Face directory as GGUF keys, and that of a GGUF file as
 * tokenizer.json. Only byte-level BPE can be converted. Knows no model.
 */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import {
  flagEntry,
  numberEntry,
  textEntry,
  textsEntry,
  wholesEntry,
  type GgufEntry,
} from '../../formats/gguf-writer.ts';
import { fimTokens } from '../prompts/fim.ts';
import { preTokenizers, tokenTypes } from './gguf.ts';
import { directoryTokenizer } from './tokenizer.ts';
import {
  eachToken,
  idOfText,
  stepsOf,
  tokenizerJson,
  withExactSplits,
  type JsonObject,
  type TokenizerFile,
  type TokenizerParts,
} from './file.ts';

/**
 * The entries of a GGUF file for the tokenizer of a directory. `rows`: number of tokens of the model, with or without a text.
 * @throws UserError `unsupported` if llama.cpp has no tokenizer of this kind.
 */
export function ggufTokenizerEntries(directory: string, rows: number): GgufEntry[] {
  const { path, parts } = directoryTokenizer(directory);
  const { file, bosId, eosIds, chatTemplate, namedTokens } = parts;
  const pre = preTokenizerName(file);
  const { merges } = file.model;
  if (pre === null || !Array.isArray(merges))
    throw userError(
      'unsupported',
      `The tokenizer ${path} splits text in a way that is not written in GGUF here.`,
      "Give --format hf, and convert the result with llama.cpp's convert_hf_to_gguf.py.",
    );
  const { texts, types } = vocabularyOf(file, rows);
  const key = (name: string): string => `tokenizer.ggml.${name}`;
  const id = (name: string, value: number | null | undefined): GgufEntry[] =>
    typeof value === 'number' && value < rows ? [numberEntry(key(`${name}_token_id`), value)] : [];
  const idOf = (text: string): number | undefined => idOfText(file, text);
  const fim = fimTokens(idOf);
  return [
    textEntry(key('model'), 'gpt2'),
    textEntry(key('pre'), pre),
    textsEntry(key('tokens'), texts),
    wholesEntry(key('token_type'), types),
    textsEntry(key('merges'), (merges as unknown[]).map(mergeText)),
    ...id('bos', bosId),
    ...id('eos', eosIds[0]),
    ...id('padding', idOf(namedTokens['pad_token'] ?? '')),
    ...id('unknown', idOf(namedTokens['unk_token'] ?? '')),
    ...id('fim_pre', fim?.prefix),
    ...id('fim_suf', fim?.suffix),
    ...id('fim_mid', fim?.middle),
    ...id('fim_rep', fim?.repository),
    ...id('fim_sep', fim?.file),
    flagEntry(key('add_bos_token'), addsBos(parts)),
    ...(chatTemplate === null ? [] : [textEntry('tokenizer.chat_template', chatTemplate)]),
  ];
}

/** The name under which llama.cpp splits text as the file does; null if there is none. */
function preTokenizerName({ pre_tokenizer: given, model }: TokenizerFile): string | null {
  if (model['type'] !== 'BPE' || given === null) return null;
  const { pre_tokenizer: exact } = withExactSplits({ pre_tokenizer: given } as TokenizerFile);
  const steps = stepsOf(exact, 'pretokenizers');
  const bytes = steps.pop();
  if (bytes?.['type'] !== 'ByteLevel' || bytes['add_prefix_space'] === true) return null;
  const splits = steps.map(splitOf);
  const ignoreMerges = model['ignore_merges'] === true;
  const found = Object.entries(preTokenizers).find(
    ([name, pre]) =>
      name !== 'default' &&
      pre!.splits.join('\n') === splits.join('\n') &&
      (pre!.ignoreMerges ?? false) === ignoreMerges,
  );
  return found?.[0] ?? null;
}

function splitOf({ type, pattern, behavior, invert }: JsonObject): string | null {
  const isIsolated = type === 'Split' && behavior === 'Isolated' && invert !== true;
  return isIsolated && isRecord(pattern) && typeof pattern['Regex'] === 'string' ? pattern['Regex'] : null;
}

function vocabularyOf(file: TokenizerFile, rows: number): { texts: string[]; types: Int32Array } {
  // As llama.cpp's converter calls rows that no token has.
  const texts = Array.from({ length: rows }, (_, id) => `[PAD${id}]`);
  const types = new Int32Array(rows).fill(tokenTypes.unused);
  const put = (id: number, text: string, type: number): void => {
    if (id < rows) [texts[id], types[id]] = [text, type];
  };
  eachToken(file, (text, id) => put(id, text, tokenTypes.normal));
  for (const { id, content, special } of file.added_tokens)
    put(id, content, special ? tokenTypes.control : tokenTypes.userDefined);
  return { texts, types };
}

/** Older files have `a b`, newer ones `[a, b]`. */
const mergeText = (merge: unknown): string => (Array.isArray(merge) ? merge.join(' ') : String(merge));

/** The separator of a merge in GGUF is the first space that is not the first character, as llama.cpp reads it. */
function mergePair(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

/** Whether its post-processor puts the bos before a text. */
const addsBos = ({ file, bosId, namedTokens }: TokenizerParts): boolean => {
  const bos = namedTokens['bos_token'];
  return bosId !== null && bos !== undefined && JSON.stringify(file.post_processor ?? {}).includes(JSON.stringify(bos));
};

/** The files of a directory for a tokenizer of GGUF. @throws UserError `unsupported` if it is no byte-level BPE. */
export function tokenizerFiles(
  path: string,
  { file, bosId, eosIds, chatTemplate, namedTokens }: TokenizerParts,
  contextLength: number,
): Readonly<Record<string, JsonObject>> {
  if (file.decoder?.['type'] !== 'ByteLevel')
    throw userError(
      'unsupported',
      `The tokenizer of ${path} is SentencePiece's, which is not written as a tokenizer.json here.`,
      'Give --format gguf, or the base as a Hugging Face directory.',
    );
  const json = tokenizerJson(file);
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      ...json,
      pre_tokenizer: completed(file.pre_tokenizer),
      decoder: completed(file.decoder),
      post_processor: bosId === null ? null : templated(file.post_processor, bosId),
      model: {
        dropout: null,
        unk_token: null,
        fuse_unk: false,
        byte_fallback: false,
        ...(json['model'] as JsonObject),
        merges: (file.model['merges'] as readonly string[]).map(mergePair),
      },
    },
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...namedTokens,
      ...(chatTemplate !== null && { chat_template: chatTemplate }),
      model_max_length: contextLength,
      clean_up_tokenization_spaces: false,
    },
    'generation_config.json': { ...(bosId !== null && { bos_token_id: bosId }), eos_token_id: eosIds },
  };
}

/** Fields that the Rust library needs and ours does not. */
function completed(step: JsonObject | null): JsonObject | null {
  if (step === null) return null;
  const { pretokenizers } = step;
  if (Array.isArray(pretokenizers)) return { ...step, pretokenizers: pretokenizers.filter(isRecord).map(completed) };
  return step['type'] === 'ByteLevel'
    ? { add_prefix_space: false, trim_offsets: true, use_regex: false, ...step }
    : step;
}

function templated(processor: JsonObject | null, bosId: number): JsonObject | null {
  if (processor === null) return null;
  const [first] = processor['single'] as { SpecialToken: { id: string } }[];
  const { id } = first!.SpecialToken;
  const piece = (name: string, type: number): JsonObject => ({ Sequence: { id: name, type_id: type } });
  return {
    ...processor,
    pair: [...(processor['single'] as JsonObject[]), piece('B', 1)],
    special_tokens: { [id]: { id, ids: [bosId], tokens: [id] } },
  };
}
