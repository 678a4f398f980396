/**
 * What an editor shows of a trace: lenses, hovers, hints, semantic tokens and an outline, as plain records of the language
 * server protocol. Pure: text and trace in, records out.
 */
import type {
  CodeLens,
  DocumentSymbol,
  Hover,
  InlayHint,
  Position,
  Range,
  SymbolKind,
} from 'vscode-languageserver/node';
import { depthOf, depths } from '../../protocol/exittrace.ts';
import type { ExitOpinion, TokenRecord } from '../../protocol/trace.ts';
import type { Span } from '../../protocol/spans.ts';
import { tokenAt, type AnnotatedText, type LineGroup } from './annotated-text.ts';

/** The document's own conversion, so that this module needs no document. */
export type PositionOf = (offset: number) => Position;

/** Token types of the legend: one a depth. */
export const tokenTypes = Array.from({ length: depths }, (_, i) => `earlyExit${i + 1}`);

/** Command of the client that a lens calls with the generation and its first token. */
export const detailsCommand = 'earlyExit.showDetails';

const LAYERS_SHOWN = 8;
const STRING_SYMBOL: SymbolKind = 15;
const KEY_SYMBOL: SymbolKind = 20;

/** `layers 3 3 6 12 … · mean 5.1 of 12 · 2.4× fewer layers`. */
export function lensTitle(tokens: readonly TokenRecord[], layers: number): string {
  const shown = tokens.slice(0, LAYERS_SHOWN).map((token) => token.layer);
  const mean = meanLayer(tokens);
  const parts = [
    `layers ${shown.join(' ')}${tokens.length > LAYERS_SHOWN ? ' …' : ''}`,
    `mean ${mean.toFixed(1)} of ${layers}`,
    ...(mean < layers ? [`${(layers / mean).toFixed(1)}× fewer layers`] : []),
  ];
  return parts.join(' · ');
}

/** One lens above each line of generated text. */
export function codeLenses(text: AnnotatedText, at: PositionOf): CodeLens[] {
  return text.groups.map((group) => {
    const start = at(group.anchor);
    return {
      range: { start, end: start },
      command: {
        title: lensTitle(tokensOf(text, group), text.trace.layers),
        command: detailsCommand,
        arguments: [text.id, group.start],
      },
    };
  });
}

/** What is known of the token at an offset; null where there is none. */
export function hover(text: AnnotatedText, offset: number, at: PositionOf): Hover | null {
  const index = tokenAt(text, offset);
  const token = text.trace.tokens[index];
  if (!token) return null;
  return {
    contents: { kind: 'markdown', value: hoverText(token, text.trace.layers) },
    range: rangeOf(text, index, at),
  };
}

/** A hint behind the last token of each stretch that left at one layer. */
export function inlayHints(text: AnnotatedText, range: { start: number; end: number }, at: PositionOf): InlayHint[] {
  const { tokens, layers } = text.trace;
  return tokens.flatMap((token, i) => {
    const span = text.spans[i]!;
    const next = tokens[i + 1];
    const ends = next?.layer !== token.layer || next.sequence !== token.sequence;
    // Before the line feed, where the token brings one.
    const blank = text.file ? 0 : (/\r?\n[^]*$/.exec(token.text)?.[0].length ?? 0);
    const offset = Math.max(span.start, span.end - blank);
    if (!ends || offset < range.start || offset > range.end) return [];
    return [{ position: at(offset), label: `${token.layer}`, paddingLeft: true, tooltip: summary(token, layers) }];
  });
}

/** Tokens as the five numbers of the protocol; a token over several lines is one piece a line. */
export function semanticTokens(texts: readonly AnnotatedText[], document: string, at: PositionOf): number[] {
  const data: number[] = [];
  let line = 0;
  let character = 0;
  for (const text of [...texts].sort((a, b) => a.span.start - b.span.start)) {
    text.trace.tokens.forEach((token, i) => {
      const type = depthOf(token.layer, text.trace.layers) - 1;
      for (const piece of linePieces(document, colouredSpan(text, i, document))) {
        const start = at(piece.start);
        const deltaLine = start.line - line;
        data.push(deltaLine, deltaLine === 0 ? start.character - character : start.character, piece.length, type, 0);
        line = start.line;
        character = start.character;
      }
    });
  }
  return data;
}

/** An outline: a symbol for each line of text; in a trace file with its tokens below. */
export function documentSymbols(text: AnnotatedText, at: PositionOf): DocumentSymbol[] {
  return text.groups.map((group) => {
    const tokens = tokensOf(text, group);
    const range = { start: at(group.anchor), end: at(text.spans[group.end - 1]!.end) };
    return {
      name: visible(tokens.map((token) => token.text).join('')),
      detail: lensTitle(tokens, text.trace.layers),
      kind: STRING_SYMBOL,
      range,
      selectionRange: { start: range.start, end: range.start },
      ...(text.file && {
        children: tokens.map((token, i) => {
          const own = rangeOf(text, group.start + i, at);
          const detail = summary(token, text.trace.layers);
          return { name: visible(token.text), detail, kind: KEY_SYMBOL, range: own, selectionRange: own };
        }),
      }),
    };
  });
}

/** Mean of the layers that were run. */
export const meanLayer = (tokens: readonly TokenRecord[]): number =>
  tokens.reduce((sum, token) => sum + token.layer, 0) / Math.max(1, tokens.length);

const tokensOf = (text: AnnotatedText, group: LineGroup): TokenRecord[] =>
  text.trace.tokens.slice(group.start, group.end);

const rangeOf = (text: AnnotatedText, token: number, at: PositionOf): Range => ({
  start: at(text.spans[token]!.start),
  end: at(text.spans[token]!.end),
});

const percent = (share: number): string => `${(100 * share).toFixed(share > 0.9995 || share < 0.0995 ? 1 : 0)} %`;

const summary = (token: TokenRecord, layers: number): string =>
  `left at layer ${token.layer} of ${layers}, ${percent(token.confidence)} sure`;

function hoverText(token: TokenRecord, layers: number): string {
  const drafted = token.draft
    ? ` · drafted by \`${token.draft.source}\`, ${token.draft.accepted ? 'accepted' : 'not accepted'}`
    : '';
  const head = `**Layer ${token.layer} of ${layers}** · exit \`${token.exit}\` · ${percent(token.confidence)} sure${drafted}`;
  if (!token.opinions?.length) return `${code(token.text)}\n\n${head}`;
  const rows = token.opinions.map((opinion) => opinionRow(opinion, token));
  return `${code(token.text)}\n\n${head}\n\n| exit | says | sure | also |\n|:--|:--|--:|:--|\n${rows.join('\n')}`;
}

function opinionRow(opinion: ExitOpinion, token: TokenRecord): string {
  const here = opinion.exit === token.exit;
  const says = opinion.token === null ? '*defers*' : code(opinion.token.text);
  const also = opinion.candidates
    .filter((candidate) => candidate.id !== opinion.token?.id)
    .slice(0, 3)
    .map((candidate) => `${code(candidate.text)} ${percent(candidate.probability)}`)
    .join(' · ');
  return `| ${here ? `**${opinion.exit}** ←` : opinion.exit} | ${says} | ${percent(opinion.confidence)} | ${also} |`;
}

/** A token's text as inline code of Markdown, safe inside a table. */
export function code(text: string): string {
  const shown = visible(text).replaceAll('|', '\\|');
  const ticks = '`'.repeat(Math.max(0, ...[...shown.matchAll(/`+/g)].map((match) => match[0].length)) + 1);
  const pad = shown.startsWith('`') || shown.endsWith('`') ? ' ' : '';
  return `${ticks}${pad}${shown}${pad}${ticks}`;
}

/** Blanks that would vanish are made visible; an empty text gets a name. */
const visible = (text: string): string =>
  text === ''
    ? '(nothing)'
    : text
        .replaceAll('\r', '')
        .replaceAll('\n', '⏎')
        .replaceAll('\t', '→')
        .replaceAll(/^ +| +$/g, (blanks) => '·'.repeat(blanks.length));

/** Generated text is coloured as a whole; of a trace file's line the layer and the exit. */
function colouredSpan(text: AnnotatedText, token: number, document: string): Span {
  const span = text.spans[token]!;
  if (!text.file) return span;
  const head = /^\S+\s+\S+/.exec(document.slice(span.start, span.end))?.[0] ?? '';
  return { start: span.start, end: span.start + head.length };
}

function linePieces(document: string, span: { start: number; end: number }): { start: number; length: number }[] {
  const pieces: { start: number; length: number }[] = [];
  let start = span.start;
  for (const line of document.slice(span.start, span.end).split('\n')) {
    const length = line.endsWith('\r') ? line.length - 1 : line.length;
    if (length > 0) pieces.push({ start, length });
    start += line.length + 1;
  }
  return pieces;
}
