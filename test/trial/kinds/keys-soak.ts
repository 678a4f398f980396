/** One language server that is asked for a completion at every key of a user who types: its memory does not grow. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CancellationTokenSource } from 'vscode-languageserver/node';
import type { Random } from '../../../backend/decoding/sampling/random.ts';
import type { CompletionResult } from '../../../protocol/completion.ts';
import * as protocol from '../../../protocol/server.ts';
import { textOfTokens } from '../../../protocol/suggestion.ts';
import { openClient, within, type LanguageClient } from '../language-client.ts';
import { shippedModel } from '../material.ts';
import { memoryOf } from '../program.ts';
import { failed, held, pick, randomOf, type Kind } from '../trial.ts';

const keys = 100;
/** Attempts after which the server has all that it needs. */
const warm = 2;
/** The number of texts that it remembers; some more are read before the first key, so that later growth is no memory of texts. */
const read = 80;
/** How far it may grow from there. */
const share = 1.05;
/** Characters of a file, after which the next is opened. */
const longest = 3_000;
const words = [
  'const total = ',
  'return values;\n',
  'function add(a: number) {\n',
  '}\n',
  'if (x > 0) ',
  '// The sum.\n',
];
const limits = {
  prefixTokens: 384,
  suffixTokens: 64,
  chunkTokens: 64,
  maxTokens: 24,
  maxMilliseconds: 1_000,
  suggestions: 1,
};

export const keysSoak: Kind = {
  name: 'keys',
  tries: `${keys} keys at a time in one language server, each with a completion: some cancelled by the next key, some taken with their exits`,
  promise: `each is answered, and resident memory grows by less than ${Math.round(100 * (share - 1))} % after ${read} files and the first ${warm * keys} keys`,
  attempts: 20,
  inTests: 0,
  lanes: 1,
  async open({ program, folder: material }) {
    const home = path.join(material, `keys-${process.pid}`);
    mkdirSync(home, { recursive: true });
    const client = await openClient(program, home);
    const random = randomOf(0, 'keys', 0);
    for (let i = 0; i < read; i++) {
      const prefix = Array.from({ length: 400 }, () => pick(random, words)).join('');
      const answer = await client.ask(protocol.complete.method, asking(`read/${i}.ts`, prefix.slice(-longest)));
      if (!answer.ok) throw new Error(answer.message);
    }
    const file = openFile(client);
    let [done, settled] = [0, 0];
    return {
      async attempt({ random }) {
        for (let key = 0; key < keys; key++) {
          const refused = await press(client, file, random);
          if (refused !== null) return failed(refused);
        }
        done++;
        const resident = memoryOf(client.child.pid!, 'VmRSS');
        if (done <= warm) settled = Math.max(settled, resident);
        const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;
        return resident <= share * settled
          ? held
          : failed(
              `after ${done * keys} keys it has ${megabytes(resident)}, after ${warm * keys} at most ${megabytes(settled)}`,
            );
      },
      close: async () => void (await client.close()),
    };
  },
};

/** A file that is typed at its end. */
interface File {
  readonly uri: string;
  readonly text: string;
  /** The next character of what is being typed. */
  nextKey(random: Random): string;
  type(text: string): Promise<void>;
}

function openFile({ connection }: LanguageClient): File {
  const now = { uri: '', text: '', version: 0 };
  let word = '';
  let count = 0;
  const open = async (): Promise<void> => {
    if (now.uri !== '') await connection.sendNotification('textDocument/didClose', { textDocument: { uri: now.uri } });
    Object.assign(now, { uri: `file:///typed/${count++}.ts`, text: '', version: 1 });
    const { uri, version, text } = now;
    await connection.sendNotification('textDocument/didOpen', {
      textDocument: { uri, languageId: 'typescript', version, text },
    });
  };
  return {
    get uri() {
      return now.uri;
    },
    get text() {
      return now.text;
    },
    nextKey(random) {
      word ||= pick(random, words);
      const key = word[0]!;
      word = word.slice(1);
      return key;
    },
    async type(text) {
      if (now.uri === '' || now.text.length > longest) await open();
      const lines = now.text.split('\n');
      const end = { line: lines.length - 1, character: lines.at(-1)!.length };
      now.text += text;
      await connection.sendNotification('textDocument/didChange', {
        textDocument: { uri: now.uri, version: ++now.version },
        contentChanges: [{ range: { start: end, end }, text }],
      });
    },
  };
}

function asking(file: string, prefix: string): object {
  const gap = { prefix, suffix: '', repository: 'typed', file: path.posix.basename(file), chunks: [] };
  return { gap, limits, options: { model: shippedModel, device: 'cpu', threads: 1 } };
}

/** One key with its completion; what went wrong, or null. */
async function press({ connection }: LanguageClient, file: File, random: Random): Promise<string | null> {
  await file.type(file.nextKey(random));
  const { uri, text } = file;
  const cancel = new CancellationTokenSource();
  const isCancelled = random() < 0.3;
  const pending = connection.sendRequest<CompletionResult>(protocol.complete.method, asking(uri, text), cancel.token);
  if (isCancelled) void wait(10 * random()).then(() => cancel.cancel());
  try {
    const { suggestions } = await within(pending, 'a completion was not answered');
    const [first] = suggestions;
    if (!first || isCancelled || random() > 0.1) return null;
    const taken = textOfTokens(first.tokens);
    await file.type(taken);
    if (file.uri !== uri) return null;
    const attached = { generation: `${uri} ${text.length}`, uri, offset: text.length, trace: first };
    const answer = await connection.sendRequest<{ attached: boolean }>(protocol.attachTrace.method, attached);
    return answer.attached ? null : `a suggestion that was taken, ${JSON.stringify(taken)}, has no exits`;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return isCancelled && message.startsWith('Cancelled.') ? null : message;
  } finally {
    cancel.dispose();
  }
}
