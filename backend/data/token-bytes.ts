/** What bytes each token stands for, and decoding of streams of them into whole characters. */
import { userError } from '../../protocol/errors.ts';
import { isRecord, vocabularyEntries, type JsonObject, type TokenizerFile } from './tokenizer-file.ts';

export interface TokenBytes {
  /** By id; undefined where an id has no token. */
  readonly tokens: readonly (Uint8Array | undefined)[];
  /** Largest id + 1 among tokens that are not added ones. */
  readonly ordinarySize: number;
  /** The tokenizer puts a space before a text, which decoding a whole text takes away again (SentencePiece). */
  readonly prefixesSpace: boolean;
}

export interface StreamDecoder {
  /** The text that is complete with this token; empty while a character is not. */
  push(id: number): string;
  /** What is left: U+FFFD for a character that was never completed. */
  flush(): string;
}

/** Throws `unsupported` for decoders that are not byte-level or SentencePiece-like. */
export function tokenBytes(path: string, file: TokenizerFile): TokenBytes {
  const steps = stepsOf(file.decoder);
  const types = new Set(steps.map((step) => step['type']));
  const byteLevel = types.has('ByteLevel');
  const spaces = types.has('Metaspace') || types.has('ByteFallback') || types.has('Replace');
  if (!byteLevel && !spaces)
    throw userError(
      'unsupported',
      `The tokenizer of ${path} decodes by ${[...types].join(', ') || 'nothing'}, which is not supported.`,
      'Use a model with a byte-level or SentencePiece tokenizer.',
    );
  const encode = byteLevel ? byteLevelBytes : pieceBytes(types.has('ByteFallback'));
  const tokens: (Uint8Array | undefined)[] = [];
  for (const [text, id] of vocabularyEntries(file)) tokens[id] = encode(text);
  for (const { content, id } of file.added_tokens) tokens[id] = Buffer.from(content);
  // A sparse array would be slow to read.
  return {
    tokens: Array.from(tokens),
    ordinarySize: ordinarySizeOf(file),
    prefixesSpace: !byteLevel && steps.some(takesSpace),
  };
}

export function streamDecoder({ tokens }: TokenBytes): StreamDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    push: (id) => decoder.decode(tokens[id] ?? new Uint8Array(0), { stream: true }),
    flush: () => decoder.decode(),
  };
}

function ordinarySizeOf(file: TokenizerFile): number {
  const added = new Set(file.added_tokens.map(({ id }) => id));
  let size = 0;
  for (const [, id] of vocabularyEntries(file)) if (id >= size && !added.has(id)) size = id + 1;
  return size;
}

function stepsOf(decoder: JsonObject | null): JsonObject[] {
  if (decoder === null) return [];
  const inner = decoder['decoders'];
  return decoder['type'] === 'Sequence' && Array.isArray(inner)
    ? inner.filter(isRecord).flatMap((step) => stepsOf(step))
    : [decoder];
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

/** A character outside the table (some vocabularies hold plain text too) stands for its own UTF-8. */
function byteLevelBytes(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) bytes.push(...Buffer.from(character));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
