import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tokenTypes } from '../../../../backend/data/tokenizer/gguf.ts';
import { checkVocabulary, loadTokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { caught, file, gguf, temporaryFolder } from '../../formats/fixtures.ts';
import {
  byteLevelFile,
  flagEntry,
  golden,
  numberEntry,
  sentencePieceFile,
  stringEntry,
  stringsEntry,
  typesEntry,
  type Golden,
} from '../fixtures.ts';

const models = process.env['EARLY_EXIT_MODELS'] ?? '../shared/models';
const smollm2 = join(models, 'SmolLM2-135M-Instruct.Q4_1.gguf');

describe('byte-level tokenizers of GGUF files', () => {
  const { cases, ids } = golden<Golden & { ids: Record<string, number[][]> }>('byte-level');
  it.each(Object.keys(ids))('%s gives the ids of the Rust tokenizers', (pre) => {
    const tokenizer = loadTokenizer(byteLevelFile(temporaryFolder(), pre));
    cases.forEach((text, i) => {
      expect([text, tokenizer.encode(text, { addSpecial: false })]).toEqual([text, ids[pre]![i]]);
      expect(tokenizer.decode(ids[pre]![i]!)).toBe(text);
    });
  });

  it.each(['glm4', 'chatglm-bpe'])('%s splits as dbrx does', (pre) => {
    const [one, other] = [pre, 'dbrx'].map((name) => loadTokenizer(byteLevelFile(temporaryFolder(), name)));
    for (const text of cases) expect(one!.encode(text)).toEqual(other!.encode(text));
  });

  it('adds a bos where the file says so, or the pre-tokenizer does', () => {
    const folder = temporaryFolder();
    const bos = numberEntry('tokenizer.ggml.bos_token_id', 0);
    const encode = (pre: string, ...more: Parameters<typeof byteLevelFile>[2] & object) =>
      loadTokenizer(byteLevelFile(folder, pre, [bos, ...more])).encode('a');
    expect(encode('gpt-2')).toHaveLength(1);
    expect(encode('gpt-2', flagEntry('tokenizer.ggml.add_bos_token', true))).toEqual([0, ...encode('gpt-2')]);
    expect(encode('llama-bpe')).toEqual([0, ...encode('gpt-2')]);
    expect(encode('llama-bpe', flagEntry('tokenizer.ggml.add_bos_token', false))).toEqual(encode('gpt-2'));
  });

  it('knows its ends, the names of its tokens and its template', () => {
    const tokenizer = loadTokenizer(
      byteLevelFile(temporaryFolder(), 'smollm', [
        numberEntry('tokenizer.ggml.bos_token_id', 0),
        numberEntry('tokenizer.ggml.eos_token_id', 1),
        stringEntry('tokenizer.chat_template', '{{ messages }}'),
      ]),
    );
    expect(tokenizer).toMatchObject({
      vocabularySize: 560,
      ordinarySize: 560,
      bosId: 0,
      // <|end|> is an end of turn by its name.
      eosIds: [1, 0],
      separatorId: 1,
      chatTemplate: '{{ messages }}',
      namedTokens: { bos_token: '<|end|>', eos_token: '<|user|>' },
    });
  });

  it('ends a text of gpt-oss where its answer ends, not where its reasoning does', () => {
    const ends = (...texts: string[]): readonly number[] => {
      const entries = [
        stringEntry('tokenizer.ggml.model', 'gpt2'),
        stringEntry('tokenizer.ggml.pre', 'gpt-4o'),
        stringsEntry('tokenizer.ggml.tokens', ['a', ...texts]),
        typesEntry([tokenTypes.normal, ...texts.map(() => tokenTypes.control)]),
        stringsEntry('tokenizer.ggml.merges', []),
      ];
      return loadTokenizer(file(temporaryFolder(), 'a.gguf', gguf({ entries }))).eosIds;
    };
    expect(ends('<|return|>', '<|call|>', '<|end|>')).toEqual([1, 2]);
    expect(ends('<|end|>')).toEqual([1]);
  });

  it('streams whole characters only', () => {
    const tokenizer = loadTokenizer(byteLevelFile(temporaryFolder(), 'gpt-2'));
    const text = 'né 東🙂!';
    const ids = tokenizer.encode(text);
    const decoder = tokenizer.decoder();
    const pieces = ids.map((id) => decoder.push(id));
    expect(pieces.join('') + decoder.flush()).toBe(text);
    expect(pieces.join('')).not.toContain('\ufffd');
    expect(pieces).toContain('');
    expect(pieces.filter((piece) => piece === '🙂')).toHaveLength(1);
    // The first byte of an emoji alone never becomes a character.
    const broken = tokenizer.decoder();
    expect(broken.push(tokenizer.encode('🦊')[0]!)).toBe('');
    expect(broken.flush()).toBe('\ufffd');
    expect(tokenizer.tokenText(tokenizer.encode('🦊')[0]!)).toBe('\ufffd');
  });
});

describe('SentencePiece tokenizers of GGUF files', () => {
  const { cases, ids, texts } = golden<Golden & { ids: number[][]; texts: string[] }>('sentencepiece');

  it('give the ids and texts of SentencePiece', () => {
    const tokenizer = loadTokenizer(sentencePieceFile(temporaryFolder()));
    cases.forEach((text, i) => {
      expect([text, tokenizer.encode(text, { addSpecial: false })]).toEqual([text, ids[i]]);
      expect(tokenizer.decode(ids[i]!)).toBe(texts[i]);
    });
  });

  it('stream a continuation with its leading space, and bytes as characters', () => {
    const tokenizer = loadTokenizer(sentencePieceFile(temporaryFolder()));
    const decoder = tokenizer.decoder();
    const pieces = tokenizer.encode('fox 🫠', { addSpecial: false }).map((id) => decoder.push(id));
    expect(pieces.join('') + decoder.flush()).toBe(' fox 🫠');
    expect(pieces.at(-1)).toBe('🫠');
  });

  it('are read in a moment, also with many pieces that are too long for any text', () => {
    const long = Array.from({ length: 40 }, (_, i) => 'fox'.repeat(5_000 + i));
    const tokenizer = loadTokenizer(sentencePieceFile(temporaryFolder(), [], long));
    expect(tokenizer.decode(tokenizer.encode('foxfoxfox fox', { addSpecial: false }))).toBe('foxfoxfox fox');
  }, 10_000);

  it('find user-defined tokens in the text', () => {
    const { tokens } = golden<Golden>('sentencepiece');
    const tokenizer = loadTokenizer(sentencePieceFile(temporaryFolder()));
    const ids = tokenizer.encode('a <b>', { addSpecial: false });
    expect(ids.at(-1)).toBe(tokens.indexOf('<b>'));
    expect(tokenizer.decode(ids)).toBe('a <b>');
  });

  it('put no blank before a text inside another', () => {
    const tokenizer = loadTokenizer(sentencePieceFile(temporaryFolder()));
    const spelled = (ids: number[]): string => ids.map((id) => tokenizer.tokenText(id)).join('');
    for (const text of ['', 'fox', ' fox', '\nfox <b> a']) expect(spelled(tokenizer.encodeInside(text))).toBe(text);
    expect(spelled(tokenizer.encodePlain(' fox'))).toBe('  fox');
  });

  it('add bos by default and no space where told not to', () => {
    const bos = numberEntry('tokenizer.ggml.bos_token_id', 1);
    const folder = temporaryFolder();
    const plain = loadTokenizer(sentencePieceFile(folder, [bos]));
    expect(plain.encode('a')[0]).toBe(1);
    const bare = loadTokenizer(sentencePieceFile(folder, [bos, flagEntry('tokenizer.ggml.add_space_prefix', false)]));
    const ids = bare.encode('fox', { addSpecial: false });
    expect(ids.map((id) => bare.tokenText(id)).join('')).toBe('fox');
    expect(bare.decode(bare.encode(' fox', { addSpecial: false }))).toBe(' fox');
  });
});

describe('Hugging Face directories', () => {
  it('read tokenizer.json with the splits of the Rust library', () => {
    const folder = temporaryFolder();
    const {
      cases,
      ids,
      tokenizer: json,
    } = golden<Golden & { ids: Record<string, number[][]>; tokenizer: object }>('byte-level');
    file(folder, 'tokenizer.json', JSON.stringify(json));
    const tokenizer = loadTokenizer(folder);
    cases.forEach((text, i) => expect([text, tokenizer.encode(text)]).toEqual([text, ids['smollm']![i]]));
  });

  it.each<[string, object]>([
    ['Metaspace', { prepend_scheme: 'first' }],
    ['ByteLevel', { add_prefix_space: true }],
  ])('%s puts its blank before a text, and none inside another', (type, how) => {
    const folder = temporaryFolder();
    const blank = type === 'Metaspace' ? '▁' : 'Ġ';
    const pre_tokenizer = { type: 'Sequence', pretokenizers: [{ type, ...how }] };
    const model = { type: 'BPE', vocab: { [blank]: 0, a: 1 }, merges: [] };
    file(folder, 'tokenizer.json', JSON.stringify({ model, pre_tokenizer, decoder: { type } }));
    const tokenizer = loadTokenizer(folder);
    expect([tokenizer.encodePlain('a'), tokenizer.encodeInside('a')]).toEqual([[0, 1], [1]]);
  });

  it('spells blanks of added tokens as those of pieces, as Gemma has them', () => {
    const folder = temporaryFolder();
    const decoders = [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
    ];
    const model = { type: 'BPE', vocab: { '▁': 0, a: 1, '▁▁▁▁': 2 }, merges: [] };
    const added_tokens = [{ id: 2, content: '▁▁▁▁', special: false, normalized: false }];
    const normalizer = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
    const json = { model, added_tokens, normalizer, decoder: { type: 'Sequence', decoders } };
    file(folder, 'tokenizer.json', JSON.stringify(json));
    expect(Buffer.from(loadTokenizer(folder).tokenBytes(2)).toString()).toBe('    ');
  });

  it('read the model that ships', () => {
    const tokenizer = loadTokenizer('models/typescript-5m');
    expect(tokenizer).toMatchObject({
      vocabularySize: 4096,
      bosId: 0,
      eosIds: [0],
      separatorId: 0,
      chatTemplate: null,
    });
    expect(loadTokenizer('models/typescript-5m/model.safetensors').encode('const x')).toEqual(
      tokenizer.encode('const x'),
    );
    const text = 'export const x = (a: string): number => a.length; // ünï 🙂\n';
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(() => checkVocabulary(tokenizer, 'm', 4096)).not.toThrow();
    expect(caught(() => checkVocabulary(tokenizer, 'm', 4000)).message).toMatch(
      /typescript-5m.tokenizer.json has 4096 tokens, but m has a vocabulary of 4000/,
    );
  });

  it('collect the ends of all configurations, and the template of a file or of the configuration', () => {
    const folder = temporaryFolder();
    cpSync('models/typescript-5m/tokenizer.json', join(folder, 'tokenizer.json'));
    const json = (name: string, value: object) => writeFileSync(join(folder, name), JSON.stringify(value));
    json('tokenizer_config.json', {
      bos_token: { content: '<|endoftext|>' },
      eos_token: '<|endoftext|>',
      chat_template: [
        { name: 'tool_use', template: 'tools' },
        { name: 'default', template: 'plain' },
      ],
    });
    json('config.json', { eos_token_id: 5 });
    json('generation_config.json', { eos_token_id: [7, 0, 5] });
    expect(loadTokenizer(folder)).toMatchObject({ bosId: 0, eosIds: [0, 7, 5], chatTemplate: 'plain' });
    writeFileSync(join(folder, 'chat_template.jinja'), 'from the file');
    expect(loadTokenizer(folder).chatTemplate).toBe('from the file');
  });
});

describe('damaged tokenizers', () => {
  const json = (value: unknown): string => {
    const folder = temporaryFolder();
    file(folder, 'tokenizer.json', typeof value === 'string' ? value : JSON.stringify(value));
    return folder;
  };
  const model = { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] };
  const decoder = { type: 'ByteLevel' };
  it.each<[string, unknown, RegExp]>([
    ['no JSON', '{', /is not JSON/],
    ['no model', {}, /has no model/],
    ['ids that are no numbers', { model: { vocab: { a: 'x' } } }, /no map from text to ids/],
    ['huge ids', { model: { vocab: { a: 4e9 } } }, /no map from text to ids/],
    ['huge ids of added tokens', { model, added_tokens: [{ id: 4e9, content: 'x' }] }, /no text or no id/],
    [
      'an unknown model',
      { model: { ...model, type: 'X', vocab: [] }, decoder, normalizer: { type: 'Y' } },
      /cannot be used/,
    ],
    [
      'a broken regular expression',
      { model, decoder, pre_tokenizer: { type: 'Split', pattern: { Regex: '(' } } },
      /cannot be used/,
    ],
    [
      'merges of another kind',
      { model: { ...model, merges: { a: 'b' } }, decoder },
      /cannot be used: values in it are of/,
    ],
    ['another decoder', { model, decoder: { type: 'WordPiece' } }, /decodes by WordPiece/],
  ])('%s', (_, value, message) => {
    expect(caught(() => loadTokenizer(json(value))).message).toMatch(message);
  });

  it('of GGUF files', () => {
    const path = (...entries: Parameters<typeof gguf>[0]['entries'] & object): string =>
      file(temporaryFolder(), 'a.gguf', gguf({ entries }));
    const kind = stringEntry('tokenizer.ggml.model', 'gpt2');
    const tokens = stringsEntry('tokenizer.ggml.tokens', ['a', 'b']);
    const refused = (...entries: Parameters<typeof path>): string =>
      caught(() => loadTokenizer(path(...entries))).message;
    expect(refused(kind)).toMatch(/lists no tokens/);
    expect(refused(stringEntry('tokenizer.ggml.model', 't5'), tokens)).toMatch(/kind "t5", which is not supported/);
    expect(refused(kind, tokens, typesEntry([1]))).toMatch(/types do not fit/);
    expect(refused(kind, tokens)).toMatch(/no merges/);
    expect(refused(kind, tokens, stringEntry('tokenizer.ggml.pre', 'toString'))).toMatch(/pre-tokenizer "toString"/);
    expect(refused(stringEntry('tokenizer.ggml.model', 'llama'), tokens)).toMatch(/scores do not fit/);
    expect(caught(() => loadTokenizer('does/not/exist')).code).toBe('not-found');
    expect(caught(() => loadTokenizer(temporaryFolder())).message).toMatch(/has no tokenizer.json/);
  });
});

describe.skipIf(!existsSync(smollm2))('SmolLM2 (skipped where EARLY_EXIT_MODELS has no SmolLM2)', () => {
  it('gives the golden ids', () => {
    const reference = JSON.parse(readFileSync('test/fixtures/golden/smollm2-golden.json', 'utf8')) as {
      prompts: Record<string, { text: string; ids: number[] }>;
      passage: { text: string; ids: number[] };
    };
    const tokenizer = loadTokenizer(smollm2);
    expect(Object.keys(reference.prompts)).toHaveLength(6);
    for (const { text, ids } of Object.values(reference.prompts)) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text);
    }
    expect(tokenizer.encode(reference.passage.text).slice(0, 512)).toEqual(reference.passage.ids);
    expect(tokenizer).toMatchObject({ vocabularySize: 49152, bosId: 1, eosIds: [2, 0], separatorId: 0 });
  });
});
