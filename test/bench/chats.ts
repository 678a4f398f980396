/** English chats: made-up requests for long answers, and the answers that a model itself writes. */
import { writeFileSync } from 'node:fs';
import { renderChat } from '../../backend/data/prompts/chat.ts';
import { loadTokenizer, type Tokenizer } from '../../backend/data/tokenizer/tokenizer.ts';
import { decode } from '../../backend/decoding/decode.ts';
import { openSession } from '../../backend/decoding/session.ts';
import { openModel } from '../../backend/model/open.ts';
import { noExits, openStagedModel } from '../../backend/runtime/open.ts';
import { endlessRequest } from './contestants/ours.ts';

const forms = [
  'Explain in detail what everybody should know about',
  'Write a long story about a child who learns something from',
  'Write a letter to an old friend about',
  'Plan a lesson of one hour about',
  'Describe the advantages and the disadvantages of',
  'Tell in several paragraphs how people came to know',
  'Write a dialogue between a teacher and a pupil about',
  'Give ten pieces of advice to somebody who has never seen',
  'Write an article for a newspaper about',
  'Compare a big city and a small village with regard to',
  'Explain step by step how a beginner gets to know',
  'Write a speech for a festival in honour of',
  'Describe a day in the life of somebody whose work is about',
  'Answer five questions that visitors of a museum ask about',
  'Write a long review of a book about',
  'Explain to a grandmother what is new about',
];

/** By what their chats are for. No topic is in two of them. */
const topics = {
  tuning: [
    ...['bread', 'the sea', 'trains', 'gardens', 'winter', 'music', 'money', 'bicycles'],
    ...['sleep', 'bees', 'bridges', 'photography', 'volcanoes', 'tea', 'wood', 'the moon'],
  ],
  calibrating: ['maps', 'rivers', 'glass', 'chess', 'horses', 'clouds', 'libraries', 'cheese'],
  measuring: ['markets', 'lighthouses', 'potatoes', 'theatre', 'wolves', 'salt', 'clocks', 'rain'],
};
export type ChatsFor = keyof typeof topics;

/** The nth request. */
export function requestOf(purpose: ChatsFor, n: number): string {
  const own = topics[purpose];
  // Beside each other stand other forms and other topics.
  return `${forms[n % forms.length]!} ${own[(n + Math.floor(n / forms.length)) % own.length]!}.`;
}
export const requestsFor = (purpose: ChatsFor): string[] =>
  Array.from({ length: forms.length * topics[purpose].length }, (_, n) => requestOf(purpose, n));

/** A request as the model's own template puts it, up to where the answer begins. */
export async function chatPrompt(tokenizer: Tokenizer, content: string): Promise<number[]> {
  const signal = AbortSignal.timeout(60_000);
  const text = await renderChat(tokenizer, [{ role: 'user', content }], { addGenerationPrompt: true, signal });
  return tokenizer.encode(text, { addSpecial: false });
}

const answerTokens = 224;
const batch = 16;

/** Writes the model's greedy answers to these requests as lines of `messages`. */
export async function writeChats(model: string, threads: number, purpose: ChatsFor, file: string): Promise<void> {
  const opened = openModel(model);
  const staged = await openStagedModel(opened, noExits, { arithmetic: 'int8', threads });
  const session = openSession(staged, { rows: batch });
  try {
    const tokenizer = loadTokenizer(model);
    const requests = requestsFor(purpose);
    const answers: number[][] = requests.map(() => []);
    for (let first = 0; first < requests.length; first += batch) {
      const prompts = await Promise.all(
        requests.slice(first, first + batch).map((request) => chatPrompt(tokenizer, request)),
      );
      const endless = endlessRequest(tokenizer, prompts);
      const request = { ...endless, maxTokens: answerTokens, endOfText: tokenizer.eosIds };
      for await (const event of decode(session, request))
        if (event.type === 'token') answers[first + event.token.sequence]!.push(event.token.id);
      console.error(`  ${opened.name}, chats for ${purpose}: ${first + prompts.length} of ${requests.length}`);
    }
    const lines = requests.map((content, i) => {
      const answer = tokenizer.decode(answers[i]!.filter((id) => !tokenizer.eosIds.includes(id)));
      const messages = [
        { role: 'user', content },
        { role: 'assistant', content: answer },
      ];
      return `${JSON.stringify({ messages })}\n`;
    });
    writeFileSync(file, lines.join(''));
  } finally {
    session.dispose();
    await staged.dispose();
    opened.close();
  }
}
