/** Counts of requests and tokens so far, in Prometheus's text format 0.0.4. */
import type { TextEvent } from '../../../protocol/serving.ts';
import { count, newTally, speedOf, type Tally } from './tally.ts';

export interface Counts {
  refused: number;
  /** Counts this number of requested texts. */
  open(texts: number): void;
  count(event: TextEvent): void;
  /** A request is over; `unfinished` of its texts were not ended. */
  close(unfinished: number, tally: Tally): void;
  /** `writing`: texts that are being written now. */
  text(writing: number): string;
}

const secondsBounds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const speedBounds = [1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 250];

export function newCounts(): Counts {
  const texts = { requested: 0, ended: 0, left: 0 };
  const all = newTally();
  const first = newHistogram(secondsBounds);
  const speed = newHistogram(speedBounds);
  const counts: Counts = {
    refused: 0,
    open(count) {
      texts.requested += count;
    },
    count(event) {
      count(all, event);
      if (event.type === 'stopped') texts.ended++;
    },
    close(unfinished, tally) {
      texts.left += unfinished;
      if (tally.first !== null) first.add((tally.first - tally.requestedAt) / 1000);
      const tokensPerSecond = speedOf(tally);
      if (tokensPerSecond !== null) speed.add(tokensPerSecond);
    },
    text(writing) {
      const open = texts.requested - texts.ended - texts.left;
      return [
        metric('texts_asked_total', 'counter', 'Texts that were requested.', texts.requested),
        metric('texts_ended_total', 'counter', 'Texts that were written to their end.', texts.ended),
        metric('texts_left_total', 'counter', 'Texts whose client left, or that were refused.', texts.left),
        metric('requests_refused_total', 'counter', 'Requests that were refused for lack of room.', counts.refused),
        metric('prompt_tokens_total', 'counter', 'Tokens of prompts.', all.promptTokens),
        metric('remembered_tokens_total', 'counter', 'Of these, tokens that were remembered.', all.rememberedTokens),
        metric('written_tokens_total', 'counter', 'Tokens written.', all.writtenTokens),
        metric('layers_total', 'counter', 'Sum of the layers at which written tokens left.', all.layers),
        labelled('tokens_by_exit_total', 'Tokens written, by the exit that they left at.', 'exit', all.exits),
        metric('drafts_total', 'counter', 'Tokens in whose places something had been drafted.', all.drafts),
        metric('drafts_right_total', 'counter', 'Of these, tokens that were what had been drafted.', all.rightDrafts),
        metric('texts_open', 'gauge', 'Texts that wait or are written.', open),
        metric('texts_writing', 'gauge', 'Of these, texts whose prompts have been read.', writing),
        metric('texts_waiting', 'gauge', 'Of these, texts that wait for their turn or are being read.', Math.max(0, open - writing)), // prettier-ignore
        first.text('first_token_seconds', 'From a request to its first token.'),
        speed.text('request_tokens_per_second', 'Tokens a second of a request, all its texts, from its first token to its last.'), // prettier-ignore
      ].join('');
    },
  };
  return counts;
}

interface Histogram {
  add(value: number): void;
  text(name: string, help: string): string;
}

function newHistogram(bounds: readonly number[]): Histogram {
  const within = bounds.map(() => 0);
  let [sum, total] = [0, 0];
  return {
    add(value) {
      sum += value;
      total++;
      for (const [i, bound] of bounds.entries()) if (value <= bound) within[i]!++;
    },
    text(name, help) {
      const lines = bounds.map((bound, i) => `early_exit_${name}_bucket{le="${bound}"} ${within[i]}\n`).join('');
      const ends = `early_exit_${name}_bucket{le="+Inf"} ${total}\nearly_exit_${name}_sum ${sum}\nearly_exit_${name}_count ${total}\n`;
      return `${heading(name, 'histogram', help)}${lines}${ends}`;
    },
  };
}

const heading = (name: string, type: string, help: string): string =>
  `# HELP early_exit_${name} ${help}\n# TYPE early_exit_${name} ${type}\n`;

const metric = (name: string, type: 'counter' | 'gauge', help: string, value: number): string =>
  `${heading(name, type, help)}early_exit_${name} ${value}\n`;

const labelled = (name: string, help: string, label: string, values: ReadonlyMap<string, number>): string =>
  heading(name, 'counter', help) +
  [...values].map(([value, number]) => `early_exit_${name}{${label}="${value}"} ${number}\n`).join('');
