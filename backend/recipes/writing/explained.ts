/**
 * What every exit predicted for the tokens of texts that are written. It is read behind them, many tokens in a pass: read with each token,
 * it would take every token through all layers, and leaving early would save nothing.
 */
import type { GenerateEvent } from '../../../protocol/events.ts';
import type { ExitOpinion, TokenRecord } from '../../../protocol/trace.ts';
import type { Ids } from '../../decoding/batch.ts';
import { rereading } from '../../decoding/prompts/reread.ts';
import type { SequenceOptions } from '../../decoding/sequence.ts';
import type { Session } from '../../decoding/session.ts';

/** A text as it was written. */
export interface WrittenText extends Ids {
  readonly tokens: readonly TokenRecord[];
}

/** `candidates`: how many of every exit are told. */
export async function* explained(
  session: Session,
  how: SequenceOptions,
  texts: readonly WrittenText[],
  candidates: number,
): AsyncGenerator<GenerateEvent, void> {
  const requests = texts.map(({ ids, from, tokens }, number) => ({
    ...rereading(how, number, ids.slice(0, from + tokens.length - 1)),
    opinionsFrom: from - 1,
    candidates,
    // Texts that are written meanwhile go first.
    urgency: -1,
  }));
  const known = requests.filter(({ number }) => texts[number]!.tokens.length > 0);
  for await (const event of session.write(known)) {
    if (event.type !== 'prompt') continue;
    const { number } = event.request;
    const { tokens } = texts[number]!;
    yield {
      type: 'explained',
      sequence: number,
      opinions: event.opinions.map((place, at) => place.map((opinion) => asLeft(opinion, tokens[at]!))),
    };
  }
}

/**
 * An opinion as it was when the token left, if the token left at this exit. Read again, it would be surer or less sure: entries before it that
 * memories had filled are exact now. The final exit keeps an opinion for another token: the token may have been sampled.
 */
function asLeft(opinion: ExitOpinion, { exit, id, text, confidence }: TokenRecord): ExitOpinion {
  if (opinion.exit !== exit) return opinion;
  if (opinion.token?.id === id) return { ...opinion, confidence };
  return exit === 'final' ? opinion : { ...opinion, confidence, token: { id, text, probability: confidence } };
}
