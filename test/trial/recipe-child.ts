/** A process that runs recipes, or reads a trace as the language server does, and says how each ended. It may die of one. */
import { readFileSync } from 'node:fs';
import { parseOptions } from '../../protocol/options/options.ts';
import { UserError, describeError } from '../../protocol/errors.ts';
import { shown } from '../../protocol/shown.ts';
import { recipes } from '../../backend/recipes/index.ts';
import * as annotations from '../../backend/language-server/annotations.ts';
import { openDocument, TRACE_LANGUAGE } from '../../backend/language-server/documents.ts';
import type { Outcome, Task } from './recipe-pool.ts';

process.on('message', (task: Task) => {
  void perform(task).then((outcome) => process.send!(outcome));
});

async function perform(task: Task): Promise<Outcome> {
  try {
    const tokens = task.recipe === 'trace' ? showTrace(task.file) : await runRecipe(task);
    return { type: 'done', tokens };
  } catch (error) {
    if (error instanceof UserError) return { type: 'refused', message: describeError(error) };
    return { type: 'broke', message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** Runs to the end; answers how many tokens were generated, if any. */
async function runRecipe(task: Exclude<Task, { recipe: 'trace' }>): Promise<number> {
  let tokens = 0;
  const events = recipes[task.recipe](parseOptions(task.recipe, task.options) as never, new AbortController().signal);
  for await (const event of events) if (event.type === 'token') tokens++;
  return tokens;
}

const textsIn = (value: unknown): string[] => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
};

/** Everything that an editor asks of an open trace. */
function showTrace(file: string): number {
  const { document, texts, problem } = openDocument('file:///trace', TRACE_LANGUAGE, 1, readFileSync(file, 'utf8'));
  const at = (offset: number) => document.positionAt(offset);
  const end = document.getText().length;
  for (const text of texts) {
    const drawn = [
      annotations.codeLenses(text, at),
      annotations.inlayHints(text, { start: 0, end }, at),
      annotations.documentSymbols(text, at),
      ...Array.from({ length: 16 }, (_, i) => annotations.hover(text, Math.floor((end * i) / 16), at)),
    ];
    const harmful = textsIn(drawn).find((one) => shown(one, { limit: Infinity, keep: '\n' }) !== one);
    if (harmful !== undefined) throw new Error(`it draws ${JSON.stringify(harmful)}`);
  }
  annotations.semanticTokens(texts, document.getText(), at);
  if (problem) throw new UserError('bad-data', problem.message);
  return 0;
}
