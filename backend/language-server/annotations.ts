/**
 * What an editor shows of a trace: lenses, hovers, hints, semantic tokens and an outline, as plain records of the language
 * server protocol. Pure: text and trace in, records out.
 */
import { plural } from '../../protocol/plural.ts';
import type {
  CodeLens,
  DocumentSymbol,
  Hover,
  InlayHint,
  Position,
  Range,
  SymbolKind,
} from 'vscode-languageserver/node';
import { exitLayer, hasExits, type Trace } from '../../protocol/exittrace.ts';
import { tokenSource, shades, TEXT_DRAFT, tokenShade, tokenType } from '../../protocol/palette.ts';
import type { ExitOpinion, TokenRecord } from '../../protocol/trace.ts';
import { withLineEnds, type Span } from '../../protocol/spans.ts';
import { tokenAt, type AnnotatedText, type LineGroup } from './annotated-text.ts';
import { code, codeInCell, plain, visible } from './markdown.ts';

/** The document's own conversion, so that this module needs no document; an offset behind its end is its end. */
export type PositionOf = (offset: number) => Position;

/** Token types of the legend: one a shade. */
export const tokenTypes = shades.map(tokenType);

/** Command of the client that a lens calls with the generation and its first token. */
const detailsCommand = 'earlyExit.showDetails';
/** Command of the client that a lens offers if there are no exits yet. */
const tuneCommand = 'earlyExit.tune';

/** Command of the client that continues a generation. */
const continueCommand = 'earlyExit.continueGeneration';

const STRING_SYMBOL: SymbolKind = 15;
const KEY_SYMBOL: SymbolKind = 20;

/** Tokens of a short line, at most, and how many short lines in a row share a lens. */
const SHORT_LINE = 6;
const MANY_LINES = 3;

/**
 * The lens above a line: `9 of 12 tokens left early · 5.1 of 12 layers on average`, or, if all tokens are the full model's, how many were
 * drafted.
 */
export function lensTitle(tokens: readonly TokenRecord[], layers: number): string {
  const early = tokens.filter(({ exit }) => exit !== 'final').length;
  const drafted = tokens.filter(({ draft }) => draft?.accepted).length;
  const all = plural(tokens.length, 'token');
  if (early > 0)
    return `${early} of ${all} left early · ${meanLayer(tokens).toFixed(1)} of ${layers} layers on average`;
  if (drafted > 0) return `${drafted} of ${all} drafted, then verified by the full model`;
  return `all ${layers} layers for ${all}`;
}

/**
 * A trace file has a lens above each line. Generated text has one, above its first line, and, if it ended before it was complete, another
 * below its last line.
 */
export function codeLenses(text: AnnotatedText, at: PositionOf): CodeLens[] {
  const [first] = text.groups;
  if (!first) return [];
  if (text.file)
    return lensGroups(text).map(({ group, lines }) => {
      const title = `${lines > 1 ? `${lines} lines: ` : ''}${lensTitle(tokensOf(text, group), text.trace.layers)}`;
      return lens(at(group.anchor), title, detailsCommand, [text.id, group.start]);
    });
  const start = at(first.anchor);
  const whole = hasExits(text.trace)
    ? lens(start, `${generationTitle(text.trace)} ▾`, detailsCommand, [text.id, first.start])
    : lens(start, `${generationTitle(text.trace)} · tune exits to leave earlier`, tuneCommand, []);
  return [whole, ...endLens(text, at)];
}

/** One generation in a line: `34 tokens · about 2.1× full depth · leave at 4, 6 and 10`; its layers if no speed is known. */
function generationTitle({ tokens, layers, speedup }: Pick<Trace, 'tokens' | 'layers' | 'speedup'>): string {
  const count = plural(tokens.length, 'token');
  // What full depth would have taken is made up of what passes cost.
  const speed = speedup === undefined ? null : `about ${speedup.toFixed(1)}× full depth`;
  const early = new Set(tokens.filter(({ exit }) => exit !== 'final').map(({ layer }) => layer));
  if (early.size > 0) {
    const left = listed([...early].sort((a, b) => a - b).map(String));
    return `${count} · ${speed ?? `${meanLayer(tokens).toFixed(1)} of ${layers} layers`} · leave at ${left}`;
  }
  const right = tokens.flatMap(({ draft }) => (draft?.accepted ? [draft.source] : []));
  if (right.length === 0) return `${count} · all ${layers} layers`;
  const exits = new Set(
    right.filter((source) => source !== TEXT_DRAFT).map((source) => String(exitLayer(source, layers))),
  );
  const drafters = [
    ...(right.includes(TEXT_DRAFT) ? ['the earlier text'] : []),
    ...(exits.size > 0 ? [`exit ${listed([...exits])}`] : []),
  ];
  const perPass = (tokens.length / Math.max(1, tokens.length - right.length)).toFixed(1);
  return `${count} · ${speed ?? `${perPass} at a time`} · drafted by ${listed(drafters)}, verified by the full model`;
}

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)!}`;

/** Below a text that ended before it was done, or above its last line if the file ends there: why, and a way on. */
function endLens({ id, trace, span, groups }: AnnotatedText, at: PositionOf): CodeLens[] {
  const below = { line: Math.min(at(span.end).line + 1, at(Infinity).line), character: 0 };
  const details = (why: string): CodeLens[] => [lens(below, why, detailsCommand, [id, groups[0]!.start])];
  if (trace.stop === 'length')
    return [lens(below, `reached ${plural(trace.tokens.length, 'token')} · Continue`, continueCommand, [id])];
  if (trace.stop === 'repetition') return details('ended: it began to repeat itself');
  return trace.stop === 'context-full' ? details('ended: the model sees no more text') : [];
}

const lens = (start: Position, title: string, command: string, given: (string | number)[]): CodeLens => ({
  range: { start, end: start },
  command: { title, command, arguments: given },
});

/** Lines that have a lens of their own; blank lines share that of the line before, and so do many short lines in a row. */
function lensGroups(text: AnnotatedText): { group: LineGroup; lines: number }[] {
  const isBlank = (group: LineGroup): boolean => tokensOf(text, group).every((token) => token.text.trim() === '');
  const join = (groups: readonly LineGroup[]): LineGroup => ({ ...groups[0]!, end: groups.at(-1)!.end });
  const lines: LineGroup[] = [];
  for (const group of text.groups) {
    const last = lines.at(-1);
    if (!isBlank(group)) lines.push(group);
    else if (last) lines[lines.length - 1] = join([last, group]);
  }
  const shown: { group: LineGroup; lines: number }[] = [];
  for (let i = 0; i < lines.length;) {
    let end = i;
    while (end < lines.length && lines[end]!.end - lines[end]!.start <= SHORT_LINE) end++;
    const count = end - i >= MANY_LINES ? end - i : 1;
    shown.push({ group: join(lines.slice(i, i + count)), lines: count });
    i += count;
  }
  return shown;
}

/** What is known of the token at an offset; null if there is none. */
export function hover(text: AnnotatedText, offset: number, at: PositionOf): Hover | null {
  const index = tokenAt(text, offset);
  const token = text.trace.tokens[index];
  if (!token) return null;
  return {
    contents: { kind: 'markdown', value: hoverText(token, text.trace.layers) },
    range: rangeOf(text, index, at),
  };
}

/** A hint after the last token of each run of tokens of one exit. */
export function inlayHints(text: AnnotatedText, range: { start: number; end: number }, at: PositionOf): InlayHint[] {
  const { tokens, layers } = text.trace;
  return tokens.flatMap((token, i) => {
    const span = text.spans[i]!;
    const next = tokens[i + 1];
    const ends = !next || hintLabel(next, layers) !== hintLabel(token, layers) || next.sequence !== token.sequence;
    // Before the first line feed, if the token has one: behind it, lines of the document may end otherwise.
    const feed = text.file ? -1 : token.text.search(/\r?\n/);
    const offset = feed < 0 ? span.end : span.start + feed;
    if (!ends || offset < range.start || offset > range.end) return [];
    return [
      { position: at(offset), label: hintLabel(token, layers), paddingLeft: true, tooltip: summary(token, layers) },
    ];
  });
}

/** The cost of a line of generated text, shown at its end: `8.3 of 12 layers`, or how many of its tokens were drafted. */
export function lineFigures(text: AnnotatedText, range: { start: number; end: number }, at: PositionOf): InlayHint[] {
  if (text.file) return [];
  return text.groups.flatMap((group) => {
    const offset = lineEndOf(text, group);
    if (offset < range.start || offset > range.end) return [];
    return [{ position: at(offset), label: lineFigure(tokensOf(text, group), text.trace.layers), paddingLeft: true }];
  });
}

/** End of the line of a group: before its line end, which may be inside a token. */
function lineEndOf({ trace, spans }: AnnotatedText, { start, end, anchor }: LineGroup): number {
  for (let i = start; i < end; i++) {
    const span = spans[i]!;
    const ends = ['\n', '\r\n'].map((lineEnd) => [lineEnd, withLineEnds(trace.tokens[i]!.text, lineEnd)] as const);
    // A text without line ends is the same with both.
    const [lineEnd, piece] = ends.find(([, each]) => each.length === span.end - span.start) ?? ends[0]!;
    const found = piece.indexOf(lineEnd, Math.max(0, anchor - span.start));
    if (found >= 0) return span.start + found;
  }
  return spans[end - 1]!.end;
}

function lineFigure(tokens: readonly TokenRecord[], layers: number): string {
  const drafted = tokens.filter(({ draft }) => draft?.accepted).length;
  const early = tokens.some(({ exit }) => exit !== 'final');
  if (!early && drafted > 0) return `${drafted} of ${tokens.length} drafted`;
  return `${meanLayer(tokens).toFixed(1)} of ${layers} layers`;
}

/** Tokens as the five numbers of the protocol; a token over several lines is one piece a line. */
export function semanticTokens(texts: readonly AnnotatedText[], document: string, at: PositionOf): number[] {
  const data: number[] = [];
  let line = 0;
  let character = 0;
  for (const text of [...texts].sort((a, b) => a.span.start - b.span.start)) {
    text.trace.tokens.forEach((token, i) => {
      const type = shades.indexOf(tokenShade(token, text.trace.exits));
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

/** The layer at which a token left, or that of the exit that drafted it; `text` if the text drafted it. */
function hintLabel(token: TokenRecord, layers: number): string {
  const by = tokenSource(token);
  return by === TEXT_DRAFT ? 'text' : by === token.exit ? `${token.layer}` : `${exitLayer(by, layers)}`;
}

const percent = (share: number): string => `${(100 * share).toFixed(share > 0.9995 || share < 0.0995 ? 1 : 0)} %`;

/**
 * What predicted a token, in a few words: the exit at which it left, the full model, or a draft that the full model verified. `name` writes an exit
 * in the form that the caller needs.
 */
function saying({ exit, draft, confidence }: TokenRecord, name = visible): string {
  const sure = `${percent(confidence)} sure`;
  if (exit !== 'final') return `left early at exit ${name(exit)}, ${sure}`;
  if (!draft) return `predicted by the full model, ${sure}`;
  const drafter = draft.source === TEXT_DRAFT ? 'the earlier text' : `exit ${name(draft.source)}`;
  return draft.accepted
    ? `drafted by ${drafter}, verified by the full model, ${sure}`
    : `predicted by the full model, ${sure}; ${drafter} had drafted another token`;
}

const summary = (token: TokenRecord, layers: number): string => `layer ${token.layer} of ${layers}: ${saying(token)}`;

const draftsExplained =
  'The full model verifies every draft, so the text is its own; accepted drafts only make it faster.';

function hoverText(token: TokenRecord, layers: number): string {
  const explained = token.exit === 'final' && token.draft ? `\n\n*${draftsExplained}*` : '';
  const head = `${code(token.text)}\n\n**Layer ${token.layer} of ${layers}** · ${saying(token, plain)}${explained}`;
  if (!token.opinions?.length) return head;
  const rows = token.opinions.map((opinion) => opinionRow(opinion, token));
  return `${head}\n\n| exit | says | sure | also |\n|:--|:--|--:|:--|\n${rows.join('\n')}`;
}

function opinionRow(opinion: ExitOpinion, token: TokenRecord): string {
  const exit = plain(opinion.exit);
  const here = opinion.exit === tokenSource(token);
  const prediction = opinion.token === null ? '*defers*' : codeInCell(opinion.token.text);
  const also = opinion.candidates
    .filter((candidate) => candidate.id !== opinion.token?.id)
    .slice(0, 3)
    .map((candidate) => `${codeInCell(candidate.text)} ${percent(candidate.probability)}`)
    .join(' · ');
  return `| ${here ? `**${exit}** ←` : exit} | ${prediction} | ${percent(opinion.confidence)} | ${also} |`;
}

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
