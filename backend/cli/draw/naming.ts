/** How the next command is written: with what this one was given, so that it runs as printed. */
import path from 'node:path';
import { shippedModel } from '../../../protocol/options/groups.ts';
import { optionTables } from '../../../protocol/options/options.ts';
import { quoted } from '../../../protocol/shell-word.ts';
import { firstPrompt } from '../../recipes/writing/first-prompt.ts';
import { commandOf, thisInstallation } from '../../recipes/installation.ts';
import { resolveModel } from '../../recipes/at-hand/shipped-model.ts';
import type { Advice, Naming } from './advice.ts';
import type { Stream } from './terminal.ts';

export function namingOf(directory: string, model: string, data: readonly string[]): Naming {
  const where = shellWord(shorter(directory));
  const isShipped = [shippedModel, resolveModel(shippedModel)].includes(model);
  // The globs of a resumed run are absolute.
  const globs = data.map(shorter);
  const isDefault = globs.join('\n') === (optionTables.tune.data.default as readonly string[]).join('\n');
  const { text, isChat } = firstPrompt(data);
  return {
    command: commandHere(),
    model: isShipped ? '' : ` --model ${shellWord(shorter(model))}`,
    exits: ` --exits ${where}`,
    data: isDefault ? '' : ` --data ${globs.map((glob) => shellWord(glob)).join(' ')}`,
    prompt: `${isChat ? ' --chat' : ''} --prompt ${shellWord(text)}`,
    directory: where,
  };
}

/** The command that resumes the run of a directory. */
export const resumeLine = (directory: string): string =>
  `${commandHere()} tune --out ${shellWord(shorter(directory))} --resume`;

/** Name of a model for a reader: the one that ships by its name, a file or folder by its path relative to the working directory. */
export const modelName = (model: string): string =>
  model === resolveModel(shippedModel) ? shippedModel : shorter(model);

/** How this program is called here. */
export const commandHere = (): string => commandOf(thisInstallation());

export function writeAdvice(stream: Stream, { reason, next }: Advice): void {
  const { bold, cyan, dim } = stream.colours;
  const lines = next.map(([line, effect]) => `  ${cyan(line)}\n      ${dim(effect)}\n`);
  stream.write(`\n${reason}\n${lines.length > 0 ? `${bold('Next')}\n${lines.join('')}` : ''}`);
}

/** A path relative to the working directory if that is shorter; anything but an absolute path stays as it is. */
export function shorter(given: string): string {
  if (!path.isAbsolute(given)) return given;
  const relative = path.relative(process.cwd(), given) || '.';
  return relative.length < given.length ? relative : given;
}

/** A word that a shell of the platform takes as it is: on Windows `cmd.exe` and PowerShell, which share double quotes. */
export const shellWord = (word: string, platform: NodeJS.Platform = process.platform): string =>
  /^[\w./@:,=+-]+$/.test(word) ? word : platform === 'win32' && !/["$`]|\\$/.test(word) ? `"${word}"` : quoted(word);
