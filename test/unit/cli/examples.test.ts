/** Every command line that a help text shows is one that the command takes. */
import { expect, test } from 'vitest';
import { commands } from '../../../backend/cli/commands.ts';
import { shells } from '../../../backend/cli/completion.ts';
import { parseFlags } from '../../../backend/cli/flags.ts';
import { commandNames, optionTables, parseOptions, type CommandName } from '../../../protocol/options/options.ts';

/** As a shell splits it, quotes gone. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);

const examples = commands.flatMap(({ help }) => help.examples.map(([line]) => [help.name, line] as const));

test.each(examples)('%s: %s', (name, line) => {
  const words = wordsOf(line.replace(/^.*\| /, '').replace(/ >>? \S+$/, ''));
  expect(words.slice(0, 2)).toEqual(['early-exit', name]);
  if (name === 'completion') expect(shells).toContain(words[2]);
  const command = name === 'start' ? 'tune' : name;
  if (!(commandNames as readonly string[]).includes(command)) return;
  const positional = commands.find(({ help }) => help.name === name)?.help.positional;
  const { given } = parseFlags(name, optionTables[command as CommandName], words.slice(2), positional);
  expect(parseOptions(command as CommandName, given)).toBeDefined();
});

test('generate shows how to leave early by name alone, and a chat', () => {
  const lines = examples.filter(([name]) => name === 'generate').map(([, line]) => line);
  expect(lines.filter((line) => line.includes('--threshold')).every((line) => line.includes('--mode fast'))).toBe(true);
  expect(lines.filter((line) => line.includes('--chat'))).toHaveLength(1);
});
