/** Positions of the layer and the exit of each token in a trace file, with the shade of the exit. Knows no `vscode`. */
import { hasExits } from '../../protocol/exittrace.ts';
import { parseTrace } from '../../protocol/trace-reading.ts';
import { tokenShade, type Shade } from '../../protocol/palette.ts';

export interface TraceHead {
  readonly shade: Shade;
  /** Line of the file, from 0; the head begins it. */
  readonly line: number;
  readonly length: number;
}

/** One for each token; none if the model has no exits, or if the file is no trace (a diagnostic says why). */
export function traceHeads(text: string): TraceHead[] {
  const parsed = tryParse(text);
  if (!parsed || !hasExits(parsed.trace)) return [];
  const { trace, tokenLines } = parsed;
  const lines = text.split(/\r?\n/);
  return trace.tokens.map((token, i) => {
    const line = tokenLines[i]!;
    const [head = ''] = /^\s*\S+\s+\S+/.exec(lines[line]!) ?? [];
    return { shade: tokenShade(token, trace.exits), line, length: head.length };
  });
}

function tryParse(text: string): ReturnType<typeof parseTrace> | null {
  try {
    return parseTrace(text);
  } catch {
    return null;
  }
}
