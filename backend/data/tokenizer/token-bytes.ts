/** The bytes of each token, and decoding of streams of tokens into whole characters. */
import { userError } from '../../../protocol/errors.ts';
import type { Steps } from '../steps.ts';
import { fits } from '../prompts/healing.ts';
import { eachToken, isPairs, stepsOf, type JsonObject, type TokenizerFile } from './file.ts';

export interface TokenBytes {
  /** Largest id + 1. */
  readonly size: number;
  /** The bytes of a token; empty if an id has none. Made on demand: most tokens of a vocabulary are never used. */
  of(id: number): Uint8Array;
  /** Length of the longest, in bytes; Infinity if some byte of text has no token, so that it may be left out. */
  longest(): number;
  /** Largest id + 1 among tokens that are not added ones. */
  readonly ordinarySize: number;
  /** The tokenizer puts a space before a text, which decoding a whole text takes away again (SentencePiece). */
  readonly prefixesSpace: boolean;
  /** Whether text can produce a token: it is neither an added one nor none at all. */
  isOrdinary(id: number): boolean;
  /** Whether a token's text is its spelling: an ordinary one, or an added one that is not special, such as `<tool_call>`. */
  isText(id: number): boolean;
  /** Ordinary tokens that begin with these bytes, or are a beginning of them. */
  fitting(bytes: Uint8Array): readonly number[];
  /** The ordinary token of a text. */
  readonly idOf: (text: string) => number | undefined;
}

export interface StreamDecoder {
  /** The text that is complete with this token; empty while a character is not. */
  push(id: number): string;
  /** What is left: U+FFFD for a character that was never completed. */
  flush(): string;
}

/** Throws `unsupported` for decoders that are not byte-level or SentencePiece-like. */
export function tokenBytes(path: string, file: TokenizerFile): TokenBytes {
  const steps = stepsOf(file.decoder, 'decoders');
  const types = new Set(steps.map((step) => step['type']));
  const byteLevel = types.has('ByteLevel');
  const spaces = types.has('Metaspace') || types.has('ByteFallback') || types.has('Replace');
  if (!byteLevel && !spaces)
    throw userError(
      'unsupported',
      `The tokenizer of ${path} decodes by ${[...types].join(', ') || 'nothing'}, which is not supported.`,
      'Use a model with a byte-level or SentencePiece tokenizer.',
    );
  const spelled = byteLevel ? byteLevelText : pieceText;
  const encode = byteLevel ? byteLevelBytes : pieceBytes(types.has('ByteFallback'));
  const texts: (string | undefined)[] = [];
  eachToken(file, (text, id) => (texts[id] = text));
  const added = new Map(file.added_tokens.map(({ content, id }) => [id, content]));
  const special = new Set(file.added_tokens.filter((token) => token.special).map(({ id }) => id));
  const ordinary = lastWhere(texts, (text, id) => text !== undefined && !added.has(id)) + 1;
  const made = new Map<number, Uint8Array>();
  const make = (id: number): Uint8Array => {
    const content = added.get(id);
    // Gemma's runs of blanks are added tokens, spelled as its pieces are.
    if (content !== undefined) return byteLevel ? Buffer.from(content) : encode(content);
    const text = texts[id];
    return text === undefined ? nothing : encode(text);
  };
  const size = file.added_tokens.reduce((most, { id }) => Math.max(most, id + 1), texts.length);
  const of = (id: number): Uint8Array => {
    let bytes = made.get(id);
    if (bytes === undefined) made.set(id, (bytes = make(id)));
    return bytes;
  };
  const isOrdinary = (id: number): boolean => texts[id] !== undefined && !added.has(id);
  /** Ordinary ids by their first byte; made on demand from every token of the vocabulary. */
  let byFirst: readonly (readonly number[])[] | null = null;
  const index = (): readonly (readonly number[])[] => {
    const lists: number[][] = Array.from({ length: 256 }, () => []);
    for (let id = 0; id < texts.length; id++) {
      const first = isOrdinary(id) ? firstByte(texts[id]!) : undefined;
      if (first !== undefined) lists[first]!.push(id);
    }
    return lists;
  };
  /** Of texts as the file has them; made on demand if the file has a list. */
  let ids: ReadonlyMap<string, number> | null = isPairs(file.model.vocab) ? null : file.model.vocab;
  const listedIds = (): ReadonlyMap<string, number> => {
    const listed = new Map<string, number>();
    eachToken(file, (text, id) => listed.set(text, id));
    return listed;
  };
  /** Of a text as the file has it. */
  const firstByte = (text: string): number | undefined =>
    (byteLevel ? byteOfCharacter.get(text[0] ?? '') : undefined) ?? encode(text)[0];
  return {
    longest() {
      const single = new Set<number>();
      let longest = 0;
      for (let id = 0; id < size; id++) {
        const { length, 0: first } = make(id);
        if (length === 1) single.add(first!);
        longest = Math.max(longest, length);
      }
      return bytesOfText.every((byte) => single.has(byte)) ? longest : Infinity;
    },
    size,
    of,
    ordinarySize: ordinary,
    prefixesSpace: !byteLevel && steps.some(takesSpace),
    isOrdinary,
    isText: (id) => !special.has(id) && (added.has(id) || texts[id] !== undefined),
    fitting: (bytes) => (byFirst ??= index())[bytes[0]!]!.filter((id) => fits(bytes, of(id))),
    idOf(text) {
      const id = (ids ??= listedIds()).get(spelled(text));
      return id !== undefined && isOrdinary(id) ? id : undefined;
    },
  };
}

const nothing = new Uint8Array(0);
/** Those that occur in UTF-8. */
const bytesOfText = Array.from({ length: 0xf5 }, (_, byte) => byte).filter((byte) => byte !== 0xc0 && byte !== 0xc1);

/** −1 if there is none. */
function lastWhere<T>(values: readonly T[], is: (value: T, index: number) => boolean): number {
  let i = values.length - 1;
  while (i >= 0 && !is(values[i]!, i)) i--;
  return i;
}

/** Ids that are decoded in one step. */
const idsOfStep = 8192;

/** The text of a whole sequence. */
export function* decodeSteps(bytes: TokenBytes, ids: ArrayLike<number>): Steps<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let text = '';
  for (let at = 0; at < ids.length; at += idsOfStep) {
    const length = Math.min(idsOfStep, ids.length - at);
    const some = Array.from({ length }, (_, i) => bytes.of(ids[at + i]!));
    text += decoder.decode(Buffer.concat(some), { stream: true });
    yield;
  }
  text += decoder.decode();
  return bytes.prefixesSpace && text.startsWith(' ') ? text.slice(1) : text;
}

export function streamDecoder(bytes: TokenBytes): StreamDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    push: (id) => decoder.decode(bytes.of(id), { stream: true }),
    flush: () => decoder.decode(),
  };
}

const takesSpace = (step: JsonObject): boolean =>
  step['type'] === 'Strip'
    ? step['content'] === ' ' && typeof step['start'] === 'number' && step['start'] > 0
    : step['type'] === 'Metaspace' && step['prepend_scheme'] !== 'never' && step['add_prefix_space'] !== false;

const pieceBytes =
  (byteFallback: boolean) =>
  (piece: string): Uint8Array => {
    const byte = byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(piece)?.[1] : undefined;
    return byte === undefined ? Buffer.from(piece.replaceAll('▁', ' ')) : Uint8Array.of(parseInt(byte, 16));
  };
const pieceText = (text: string): string => text.replaceAll(' ', '▁');

/** GPT-2's printable character for each byte, reversed: printable bytes are themselves, the rest follow from U+0100 on. */
const byteOfCharacter: ReadonlyMap<string, number> = (() => {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !isPrintable(byte));
  return new Map([
    ...bytes.filter(isPrintable).map((byte): [string, number] => [String.fromCharCode(byte), byte]),
    ...others.map((byte, n): [string, number] => [String.fromCharCode(256 + n), byte]),
  ]);
})();

/** A character outside the table (some vocabularies have plain text, too) means its own UTF-8 bytes. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) bytes.push(...Buffer.from(character));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

const characterOfByte: readonly string[] = (() => {
  const characters: string[] = [];
  for (const [character, byte] of byteOfCharacter) characters[byte] = character;
  return characters;
})();

const byteLevelText = (text: string): string =>
  Array.from(Buffer.from(text), (byte) => characterOfByte[byte]!).join('');
