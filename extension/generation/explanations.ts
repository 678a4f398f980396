/** What every exit predicted for the tokens of a generation, which comes behind the text: kept until all of its tokens are there. */
import type * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { ExitOpinion } from '../../protocol/trace.ts';
import type { Backend } from '../backend/backend.ts';
import type { GeneratedText } from './generated-text.ts';
import type { KeptTexts } from './kept-texts.ts';

export interface Explanations {
  /** A text grows from now on: what comes for it waits. */
  begin(id: string): void;
  /** It has its tokens. */
  end(id: string): Promise<void>;
}

/** `replace`: puts a text that is explained in the place of the same text. */
export function createExplanations(
  backend: Backend,
  kept: KeptTexts,
  replace: (text: GeneratedText) => Promise<void>,
  subscriptions: vscode.Disposable[],
): Explanations {
  const growing = new Set<string>();
  const waiting = new Map<string, Explained>();
  const explain = async (id: string): Promise<void> => {
    const explained = waiting.get(id);
    if (!explained || growing.has(id)) return;
    waiting.delete(id);
    const generated = kept.get(id);
    if (generated) await replace(withOpinions(generated, explained));
  };
  subscriptions.push(
    backend.listen(protocol.tokensExplained, ({ generation, ...explained }) => {
      waiting.set(generation, explained);
      void explain(generation);
    }),
  );
  return {
    begin: (id) => void growing.add(id),
    async end(id) {
      growing.delete(id);
      await explain(id);
    },
  };
}

/** Predictions of every exit for the tokens of a text, from the one with this index on. */
interface Explained {
  readonly from: number;
  readonly opinions: readonly ExitOpinion[][];
}

function withOpinions(generated: GeneratedText, { from, opinions }: Explained): GeneratedText {
  const tokens = generated.trace.tokens.map((token, i) => {
    const own = opinions[i - from];
    return own ? { ...token, opinions: own } : token;
  });
  return { ...generated, trace: { ...generated.trace, tokens } };
}
