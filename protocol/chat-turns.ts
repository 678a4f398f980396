/** A conversation as an editor sends it. Pure. */
import { list, oneOf, record, text, type Shape } from './shapes.ts';

export interface ChatTurn {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export const chatTurnsShape: Shape<ChatTurn[]> = list(
  record({ role: oneOf('system', 'user', 'assistant'), content: text }),
);

/** A message of an editor's chat: its role as a number, and its parts; only parts with a text `value` count. */
export interface ChatMessage {
  readonly role: number;
  readonly content: readonly unknown[];
}

const roles: Readonly<Record<number, ChatTurn['role']>> = { 1: 'user', 2: 'assistant', 3: 'system' };

/**
 * Messages as turns that chat templates take: system turns are one, and first; neighbours of one role are one; the first of the others
 * is the user's. Messages without text are left out.
 */
export function turnsOf(messages: readonly ChatMessage[]): ChatTurn[] {
  const all = messages
    .map(({ role, content }): ChatTurn => ({ role: roles[role] ?? 'user', content: textOf(content) }))
    .filter(({ content }) => content.trim() !== '');
  const system = all.filter(({ role }) => role === 'system');
  const turns: ChatTurn[] = [];
  for (const turn of [...system, ...all.filter(({ role }) => role !== 'system')]) {
    const last = turns.at(-1);
    if (last?.role === turn.role) last.content += `\n\n${turn.content}`;
    else if (turn.role !== 'assistant' || last?.role === 'user') turns.push({ ...turn });
  }
  return turns;
}

const textOf = (parts: readonly unknown[]): string =>
  parts
    .map((part) => (typeof part === 'object' && part !== null && 'value' in part ? part.value : ''))
    .filter((value) => typeof value === 'string')
    .join('');
