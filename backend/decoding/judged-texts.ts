/** Texts as the full model judges them, in the session that wrote them. */
import type { BatchRequest } from './batch.ts';
import type { SequenceOptions } from './sequence.ts';
import type { Session } from './session.ts';

/** A text of at least one token, and the prompt that it follows. */
export interface JudgedText {
  readonly prompt: readonly number[];
  readonly text: readonly number[];
}

/**
 * The regrets of each text's tokens, by the full model's scores, in the order of the texts. A session that wrote the texts has run most of
 * them: only what memories filled is run again.
 */
export async function* regretsOf(
  session: Session,
  how: SequenceOptions,
  texts: readonly JudgedText[],
): AsyncGenerator<readonly number[], void> {
  const requests = texts.map(({ prompt, text }, number): BatchRequest => ({
    ...how,
    enabled: () => false,
    onProbation: false,
    promptExit: null,
    number,
    prompt: [...prompt, ...text.slice(0, -1)],
    judged: text,
    maxTokens: 0,
    scores: null,
  }));
  for await (const event of session.write(requests)) if (event.type === 'prompt') yield event.regrets;
}
