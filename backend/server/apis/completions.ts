/** `/v1/completions`: OpenAI's request and answer, with prompts as text or ids, and log probabilities of both sides. */
import { userError } from '../../../protocol/errors.ts';
import type { PromptToken, ServedPrompt, TextEvent } from '../../../protocol/serving.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { exitsOf, finishReason, usageOf, type WrittenText } from './answers.ts';
import { countField, flagField, refuseFields, type Body } from './fields.ts';
import { wantsExits } from './text-options.ts';
import { requestedTokens, checkModel, promptsField, requestOf } from './requests.ts';
import type { Served } from '../served.ts';
import { streamOptions, type Endpoint, type Head } from './endpoint.ts';

/** Default number of tokens, and most log probabilities per position, as in OpenAI's API. */
const defaultTokens = 16;
const mostAlternatives = 5;

export function completions(body: Body, served: Served): Endpoint {
  checkModel(body, served);
  refuseFields(body, { best_of: (value) => value === 1 || value === body['n'] });
  const echo = flagField(body, 'echo') ?? false;
  const logprobs = countField(body, 'logprobs', 0, mostAlternatives);
  const request = requestOf(body, served, {
    prompts: promptsOf(body, served),
    count: countField(body, 'n', 1, 128) ?? 1,
    maxTokens: requestedTokens(body, 'max_tokens', echo ? 0 : 1) ?? defaultTokens,
    alternatives: logprobs ?? 0,
    echo,
    scores: echo && logprobs !== undefined ? logprobs : null,
    isMeasured: logprobs !== undefined,
    isAsItIs: echo || logprobs !== undefined,
  });
  const showsExits = wantsExits(body);
  const choice = (text: WrittenText, index: number, shown: Shown): object => ({
    index,
    text: shown.prompt.map((token) => token.text).join('') + shown.tokens.map((token) => token.text).join(''),
    logprobs: logprobs === undefined ? null : logprobsOf(shown, logprobs),
    finish_reason: finishReason(text.reason),
    ...(showsExits && { early_exit: exitsOf(shown.tokens) }),
  });
  const headed = (head: Head): object => ({
    id: `cmpl-${head.id}`,
    object: 'text_completion',
    created: head.created,
    model: served.name,
  });
  const offsets = new Map<number, number>();
  return {
    request,
    stream: streamOptions(body),
    whole: (texts, head) => ({
      ...headed(head),
      choices: texts.map((text, i) => choice(text, i, { prompt: text.prompt, tokens: text.tokens, offset: 0 })),
      usage: usageOf(texts, request.count),
    }),
    piece(event, text, head) {
      if (event.type === 'read' && event.prompt.length === 0) return [];
      const shown = shownOf(event, offsets.get(event.text) ?? 0);
      offsets.set(event.text, shown.offset + lengthOf(shown));
      return [{ ...headed(head), choices: [choice(text, event.text, shown)] }];
    },
    usage: (texts, head) => ({ ...headed(head), choices: [], usage: usageOf(texts, request.count) }),
  };
}

/** What of a text is shown at once; `offset`: code points before it. */
interface Shown {
  readonly prompt: readonly PromptToken[];
  readonly tokens: readonly TokenRecord[];
  readonly offset: number;
}

const shownOf = (event: TextEvent, offset: number): Shown => ({
  prompt: event.type === 'read' ? event.prompt : [],
  tokens: event.type === 'written' ? event.tokens : [],
  offset,
});

const lengthOf = ({ prompt, tokens }: Shown): number =>
  [...prompt, ...tokens].reduce((sum, { text }) => sum + codePoints(text), 0);

/** How long a text is for clients in Python. */
const codePoints = (text: string): number => [...text].length;

function promptsOf(body: Body, { model }: Served): ServedPrompt[] {
  const { prompt, suffix } = body;
  // An empty one is a gap at the end of a file, or what a client sends that fills in every field.
  const isNone =
    suffix === undefined || suffix === null || (suffix === '' && !(model.fills && typeof prompt === 'string'));
  const given = isNone ? undefined : suffix;
  if (given !== undefined) {
    if (typeof prompt !== 'string' || typeof given !== 'string')
      throw userError('bad-argument', 'With a suffix, prompt and suffix must be texts.');
    return [{ kind: 'gap', gap: { prefix: prompt, suffix: given, chunks: [] } }];
  }
  return promptsField(body);
}

/** Log probabilities in OpenAI's four lists. The first token of a prompt has none. */
function logprobsOf({ prompt, tokens, offset }: Shown, count: number): object {
  const all = [...prompt.map(ofPrompt), ...tokens.map(ofWritten)];
  let at = offset;
  return {
    tokens: all.map(({ token }) => token),
    token_logprobs: all.map(({ logProbability }) => logProbability),
    top_logprobs: all.map(({ logProbability, alternatives }) =>
      logProbability === null ? null : byText(alternatives.slice(0, count)),
    ),
    text_offset: all.map(({ text }) => {
      const start = at;
      at += codePoints(text);
      return start;
    }),
  };
}

/** Log probabilities by text. Parts of characters have the same text: the likeliest stands, which comes first. */
function byText(alternatives: Scored['alternatives']): Record<string, number> {
  const found = new Map<string, number>();
  for (const { text, logProbability } of alternatives) if (!found.has(text)) found.set(text, logProbability);
  return Object.fromEntries(found);
}

interface Scored {
  readonly token: string;
  readonly text: string;
  readonly logProbability: number | null;
  readonly alternatives: readonly { readonly text: string; readonly logProbability: number }[];
}

const ofPrompt = ({ token, text, logProbability, alternatives }: PromptToken): Scored => ({
  token,
  text,
  logProbability,
  alternatives,
});

export const ofWritten = ({ id, text, confidence, alternatives = [] }: TokenRecord): Scored => ({
  // The token's text alone: as in the list of alternatives, if it is among them.
  token: alternatives.find((each) => each.id === id)?.text ?? text,
  text,
  logProbability: Math.log(confidence),
  alternatives: alternatives.map((each) => ({ text: each.text, logProbability: Math.log(each.probability) })),
});
