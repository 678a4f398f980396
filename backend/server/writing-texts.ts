/** Which texts are being written now, and how far they are. */
import type { TextEvent } from '../../protocol/serving.ts';

export interface WritingText {
  /** A number of its request. */
  readonly request: number;
  readonly promptTokens: number;
  /** Tokens written. */
  written: number;
}

export interface WritingTexts {
  follow(event: TextEvent): void;
  /** A text of a request will have no more events. */
  drop(request: number, text: number): void;
  /** Texts whose prompts have been read and that have not ended. */
  list(): readonly WritingText[];
}

export function newWritingTexts(): WritingTexts {
  const texts = new Map<string, WritingText>();
  const keyOf = (request: number, text: number): string => `${request} ${text}`;
  return {
    follow(event) {
      const key = keyOf(event.id, event.text);
      if (event.type === 'read') texts.set(key, { request: event.id, promptTokens: event.tokens, written: 0 });
      else if (event.type === 'stopped') texts.delete(key);
      else texts.get(key)!.written += event.tokens.length;
    },
    drop: (request, text) => void texts.delete(keyOf(request, text)),
    list: () => [...texts.values()],
  };
}
