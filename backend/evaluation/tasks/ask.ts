/** Makes the prompt of a task, in ids, and the rules for the end of its answer. */
import { plural } from '../../../protocol/plural.ts';
import { userError } from '../../../protocol/errors.ts';
import { renderChat } from '../../data/prompts/chat.ts';
import { gapPrompt } from '../../data/prompts/gap-prompt.ts';
import type { Begun } from '../../data/prompts/healing.ts';
import type { Tokenizer } from '../../data/tokenizer/tokenizer.ts';
import type { TextEnd } from '../../decoding/text.ts';
import type { Language } from './sandbox.ts';
import { letterOf, type Task } from './task.ts';

export interface TaskPrompt {
  readonly ids: readonly number[];
  /** What was taken off the prompt's end (token healing). */
  readonly begun: Begun | null;
  readonly maxTokens: number;
  readonly stops: readonly string[];
  readonly ends: readonly (() => TextEnd)[];
  /** Tokens that end it, beside those of the tokenizer. */
  readonly endTokens: readonly number[];
  /** Continuations whose likelihoods are compared; empty if an answer is written. */
  readonly choices: readonly (readonly number[])[];
}

export interface Asking {
  readonly tokenizer: Tokenizer;
  /** Whether tasks are formatted with the model's chat template. Tasks of the form `fill` and choices by likelihood never are. */
  readonly chat: boolean;
  /** Most tokens of an answer; null: as the form needs. */
  readonly answerTokens: number | null;
  readonly contextLength: number;
}

/** @throws UserError `bad-data` if the prompt is empty, or longer with its answer than the model's context; names the task's line. */
export async function askFor(task: Task, asking: Asking, signal: AbortSignal): Promise<TaskPrompt> {
  const prompt = { ...(await promptOf(task, asking, signal)) };
  const maxTokens = task.form === 'choice' && task.by === 'likelihood' ? 0 : (asking.answerTokens ?? prompt.maxTokens);
  if (prompt.ids.length === 0)
    throw userError('bad-data', `${task.place}: the prompt is empty.`, 'Give it text, or leave the task out.');
  const answer = Math.max(maxTokens, ...prompt.choices.map((choice) => choice.length));
  // A choice is read as a part of the prompt, behind which there has to be room for a token.
  const room = asking.contextLength - (prompt.choices.length > 0 ? 1 : 0);
  if (prompt.ids.length + answer > room)
    throw userError(
      'bad-data',
      `${task.place}: the prompt has ${plural(prompt.ids.length, 'token')}, and with an answer of ${answer} that is longer than the model's context of ${asking.contextLength}.`,
      'Give fewer --answer-tokens, or leave the task out.',
    );
  return { ...prompt, maxTokens };
}

const nothing = { begun: null, stops: [], ends: [], endTokens: [], choices: [] };

async function promptOf(task: Task, asking: Asking, signal: AbortSignal): Promise<TaskPrompt> {
  const { tokenizer, chat } = asking;
  if (task.form === 'fill') return filling(task, tokenizer);
  const { raw, question, stops, maxTokens } = wording(task);
  if (task.form === 'choice' && task.by === 'likelihood') {
    const choices = task.choices.map((choice) => tokenizer.encodeInside(` ${choice}`));
    return { ...nothing, ids: tokenizer.encode(task.prompt), maxTokens: 0, choices };
  }
  if (!chat) return { ...nothing, ...tokenizer.heal(tokenizer.encode(raw)), stops, maxTokens };
  const turns = [{ role: 'user', content: question }];
  const rendered = await renderChat(tokenizer, turns, { addGenerationPrompt: true, signal });
  return { ...nothing, ids: tokenizer.encode(rendered, { addSpecial: false }), maxTokens: 2 * maxTokens };
}

/** All of the text around the gap, as an editor asks. A model that was not trained to fill in continues the prefix. */
function filling(task: Extract<Task, { form: 'fill' }>, tokenizer: Tokenizer): TaskPrompt {
  const { prefix, suffix, isLine, goesOn } = task;
  const maxTokens = isLine ? 64 : 256;
  const limits = { prefixTokens: everything, suffixTokens: everything, chunkTokens: 0, maxTokens };
  const { ids, begun, ends, stops, fills } = gapPrompt(tokenizer, { prefix, suffix }, limits, 8 * everything);
  return {
    ...nothing,
    ids,
    begun,
    // Without the text behind it, nothing else ends a gap of several lines.
    stops: fills || isLine ? [] : stops,
    ends: isLine ? [goesOn ? partEnd : lineEnd] : [],
    endTokens: ends,
    maxTokens,
  };
}

/** Tokens; more than any text has. */
const everything = 2 ** 40;

interface Wording {
  /** For a model that continues a text, without a chat template. */
  readonly raw: string;
  /** For one that answers. */
  readonly question: string;
  readonly stops: readonly string[];
  /** Most tokens of an answer that continues a text, by the form of the task. */
  readonly maxTokens: number;
}

function wording(task: Exclude<Task, { form: 'fill' }>): Wording {
  const { prompt } = task;
  switch (task.form) {
    case 'code': {
      const question = `Complete this code. Answer with all of it, in one block of code and without tests.\n\n\`\`\`${task.language}\n${prompt.trimEnd()}\n\`\`\``;
      return { raw: prompt, question, stops: codeStops[task.language], maxTokens: 384 };
    }
    case 'number': {
      const question = `${prompt}\n\nThink step by step, and end with the number alone.`;
      return { raw: `Question: ${prompt}\nAnswer:`, question, stops: ['\nQuestion:', '\n\n'], maxTokens: 256 };
    }
    case 'text': {
      const isLine = task.metric === 'exact' || task.metric === 'f1';
      return { raw: prompt, question: prompt, stops: isLine ? ['\n'] : ['\n\n'], maxTokens: isLine ? 64 : 128 };
    }
    case 'choice': {
      const listed = task.choices.map((choice, i) => `${letterOf(i)}. ${choice}`).join('\n');
      const question = `${prompt}\n${listed}`;
      return {
        raw: `${question}\nAnswer:`,
        question: `${question}\n\nAnswer with the letter alone.`,
        stops: ['\n'],
        maxTokens: 8,
      };
    }
  }
}

/** Stop texts that end a function, from the paper of HumanEval (Chen et al. 2021). */
const codeStops: Readonly<Record<Language, readonly string[]>> = {
  python: ['\nclass ', '\ndef ', '\n#', '\nif ', '\nprint(', '\nassert ', '\n@', '\n```'],
  javascript: ['\nclass ', '\nfunction ', '\n//', '\nconsole.', '\nmodule.', '\n```'],
};

/** Ends a text after its first line that is not blank. */
export const lineEnd = (): TextEnd => endOfLine('\n'.length);

/** The same, before that line's end: what follows the text belongs to its line. */
const partEnd = (): TextEnd => endOfLine(0);

function endOfLine(kept: number): TextEnd {
  let text = '';
  return {
    push(piece) {
      text += piece;
      const first = text.search(/\S/);
      const end = first < 0 ? -1 : text.indexOf('\n', first);
      return end < 0 ? { safe: text.length, reason: null } : { safe: end + kept, reason: 'stop-string' };
    },
    settled: () => text.length,
  };
}
