/** What was asked and written so far, as Prometheus reads it (text format 0.0.4). */
import type { TextEvent } from '../../protocol/serving.ts';

export interface Counts {
  refused: number;
  /** So many texts were asked for. */
  open(texts: number): void;
  count(event: TextEvent): void;
  /** A request is over; so many of its texts were not ended. */
  close(unfinished: number): void;
  text(): string;
}

interface Values {
  asked: number;
  ended: number;
  left: number;
  promptTokens: number;
  rememberedTokens: number;
  writtenTokens: number;
  layers: number;
}

export function newCounts(): Counts {
  const values: Values = {
    asked: 0,
    ended: 0,
    left: 0,
    promptTokens: 0,
    rememberedTokens: 0,
    writtenTokens: 0,
    layers: 0,
  };
  const counts: Counts = {
    refused: 0,
    open(texts) {
      values.asked += texts;
    },
    count(event) {
      if (event.type === 'read') {
        values.promptTokens += event.tokens;
        values.rememberedTokens += event.remembered;
      }
      if (event.type === 'written') {
        values.writtenTokens += event.tokens.length;
        for (const { layer } of event.tokens) values.layers += layer;
      }
      if (event.type === 'stopped') values.ended++;
    },
    close(unfinished) {
      values.left += unfinished;
    },
    text: () =>
      [
        metric('texts_asked_total', 'counter', 'Texts that were asked for.', values.asked),
        metric('texts_ended_total', 'counter', 'Texts that were written to their end.', values.ended),
        metric('texts_left_total', 'counter', 'Texts whose client left, or that were refused.', values.left),
        metric('requests_refused_total', 'counter', 'Requests that were told to come back.', counts.refused),
        metric('prompt_tokens_total', 'counter', 'Tokens of prompts.', values.promptTokens),
        metric('remembered_tokens_total', 'counter', 'Of these, tokens that were remembered.', values.rememberedTokens),
        metric('written_tokens_total', 'counter', 'Tokens written.', values.writtenTokens),
        metric('layers_total', 'counter', 'Layers that the written tokens left behind, summed.', values.layers),
        metric('texts_open', 'gauge', 'Texts that wait or are written.', values.asked - values.ended - values.left),
      ].join(''),
  };
  return counts;
}

const metric = (name: string, type: 'counter' | 'gauge', help: string, value: number): string =>
  `# HELP early_exit_${name} ${help}\n# TYPE early_exit_${name} ${type}\nearly_exit_${name} ${value}\n`;
