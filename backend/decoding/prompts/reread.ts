/** Texts that are read again in the session that wrote them, which has run most of their tokens: only what memories filled is run again. */
import type { BatchRequest } from '../batch.ts';
import type { SequenceOptions } from '../sequence.ts';
import type { Session } from '../session.ts';

/** A text of at least one token, and the prompt that it follows. */
export interface JudgedText {
  readonly prompt: readonly number[];
  readonly text: readonly number[];
}

/** A request that reads a text as it is, without any of what lets it be written otherwise. */
export const rereading = (how: SequenceOptions, number: number, prompt: readonly number[]): BatchRequest => ({
  ...how,
  enabled: () => false,
  onProbation: false,
  promptExit: null,
  number,
  prompt,
  maxTokens: 0,
  scores: null,
});

/** The regrets of each text's tokens, by the full model's scores, in the order of the texts. */
export async function* regretsOf(
  session: Session,
  how: SequenceOptions,
  texts: readonly JudgedText[],
): AsyncGenerator<readonly number[], void> {
  const requests = texts.map(({ prompt, text }, number) => ({
    ...rereading(how, number, [...prompt, ...text.slice(0, -1)]),
    judged: text,
  }));
  for await (const event of session.write(requests)) if (event.type === 'prompt') yield event.regrets;
}
