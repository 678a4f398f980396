/** Draws a generation: the text as it is written, each token in the colour of its exit, then a legend and the speed. */
import { plural } from '../../../protocol/plural.ts';
import type { GenerateEvent } from '../../../protocol/events.ts';
import { tokenSource, TEXT_DRAFT } from '../../../protocol/palette.ts';
import type { Mode, StopReason, TokenRecord } from '../../../protocol/trace.ts';
import { exitColours, type ExitColours } from './exit-colours.ts';
import { drawEvents, type Progress } from './progress.ts';
import { textFor } from './shown-events.ts';
import { figures, percent } from './table.ts';
import type { Stream, Terminal } from './terminal.ts';

export type Generated = Extract<GenerateEvent, { type: 'generated' }>;

const stopTexts: Readonly<Record<StopReason, string>> = {
  'end-of-text': 'ended by itself',
  'stop-string': 'met a stop text',
  'block-end': 'closed what it began',
  repetition: 'ended, since it began to repeat itself',
  length: 'reached --max-tokens',
  'context-full': 'filled the context',
  cancelled: 'interrupted',
};

/** `prompts`: shown before the text on a terminal. Returns the last event; throws what the recipe throws. */
export async function showGenerate(
  events: AsyncIterable<GenerateEvent>,
  terminal: Terminal,
  prompts: readonly string[],
): Promise<Generated | null> {
  const { out, err } = terminal;
  const several = prompts.length > 1;
  const tokens: TokenRecord[] = [];
  const found: { generated: Generated | null; colours: ExitColours; mode: Mode } = {
    generated: null,
    colours: exitColours(out, []),
    mode: 'full',
  };
  let started = false;
  try {
    await drawEvents(events, err, {
      ready(event, progress) {
        progress.show(event);
        found.mode = event.mode;
        found.colours = exitColours(
          out,
          event.exits.map(({ exit }) => exit),
        );
      },
      token({ token }, progress) {
        tokens.push(token);
        if (several) return;
        if (!started) begin(progress, out, textFor(out, prompts[0] ?? ''));
        started = true;
        out.write(paintToken(found.colours, token));
      },
      generated(event, progress) {
        progress.leave();
        found.generated = event;
      },
      // Only an editor requests it.
      explained: () => undefined,
    });
  } finally {
    if (started) out.write('\n');
  }
  const { generated, colours, mode } = found;
  if (several) writeSeveral(out, colours, prompts, tokens);
  if (generated) err.write(summary(err, generated, tokens, colours.exits, mode));
  return generated;
}

function begin(progress: Progress, out: Stream, prompt: string): void {
  progress.leave();
  if (out.interactive) out.write(`\n${out.colours.dim(prompt)}`);
}

/** Spaces are not coloured, so that line breaks and indents stay as they are. */
function paintToken(colours: ExitColours, token: TokenRecord): string {
  return token.text.replace(/[^\s]+/g, (text) => colours.paint(tokenSource(token), text));
}

function writeSeveral(
  out: Stream,
  colours: ExitColours,
  prompts: readonly string[],
  tokens: readonly TokenRecord[],
): void {
  prompts.forEach((prompt, sequence) => {
    const text = tokens.filter((token) => token.sequence === sequence).map((token) => paintToken(colours, token));
    const { bold, dim } = out.colours;
    out.write(
      `${bold(`── ${sequence + 1} of ${prompts.length}`)}\n${out.interactive ? dim(textFor(out, prompt)) : ''}${text.join('')}\n`,
    );
  });
}

/** The share of tokens of each exit, the mean layer and the speed. */
function summary(
  err: Stream,
  generated: Generated,
  tokens: readonly TokenRecord[],
  exits: readonly string[],
  mode: Mode,
): string {
  const { dim, bold } = err.colours;
  const colours = exitColours(err, exits.slice(0, -1));
  const drafted = tokens.some((token) => tokenSource(token) === TEXT_DRAFT) ? [TEXT_DRAFT] : [];
  const shareOf = (exit: string): number =>
    tokens.filter((token) => tokenSource(token) === exit).length / Math.max(1, tokens.length);
  // If no token leaves early, an exit without drafts has no part in the text.
  const isUsed = (exit: string): boolean => mode === 'fast' || exit === 'final' || shareOf(exit) > 0;
  const legend = [...drafted, ...exits.filter(isUsed)].map((exit) => {
    const name = exit === TEXT_DRAFT ? 'copied from earlier text' : exit;
    return `${colours.paint(exit, `■ ${name}`)} ${percent(shareOf(exit), 0)}`;
  });
  const { layers, meanLayer, tokensPerSecond, promptTokens, promptSeconds, stops } = generated;
  const facts = [
    plural(generated.tokens, 'token'),
    mode === 'fast'
      ? `mean layer ${bold(meanLayer.toFixed(1))} of ${layers} (${percent(meanLayer / layers, 0)})`
      : `the text of full depth (${layers} layers)`,
    `${bold(figures(tokensPerSecond))} tokens/s`,
    `prompt of ${plural(promptTokens, 'token')} in ${promptSeconds.toFixed(2)} s`,
    [...new Set(stops)].map((stop) => stopTexts[stop]).join(', '),
  ];
  return `\n${legend.join('  ')}\n${facts.filter(Boolean).join(dim(' · '))}\n`;
}
