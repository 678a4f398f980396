/** Commands that run no recipe: the script of a shell, and the language server. */
import type { Command } from './command.ts';
import { completionScript, shells } from './completion.ts';
import { commandHelp } from './help.ts';

const isHelp = (words: readonly string[]): boolean => words.some((word) => word === '--help' || word === '-h');

/** `all`: every command, this one among them. */
export const completionCommand = (all: () => readonly Command[]): Command => ({
  help: {
    name: 'completion',
    usage: shells.join('|'),
    summary: 'A script with which a shell completes commands, options and their values.',
    description: 'Writes the script for a shell to standard output, made of the options as they are.',
    examples: [
      ['early-exit completion bash > ~/.local/share/bash-completion/completions/early-exit', 'for bash'],
      ['early-exit completion zsh > ~/.zfunc/_early-exit', 'for zsh, where ~/.zfunc is in fpath'],
      ['early-exit completion fish > ~/.config/fish/completions/early-exit.fish', 'for fish'],
      ['early-exit completion powershell >> $PROFILE', 'for PowerShell'],
    ],
  },
  table: {},
  common: ['--help'],
  async run(words, { terminal }) {
    terminal.out.write(
      isHelp(words) ? commandHelp(terminal.out, this.help, this.table) : completionScript(words, all()),
    );
    return 0;
  },
});

export const lspCommand: Command = {
  help: {
    name: 'lsp',
    summary: 'The language server, for an editor.',
    description: 'Speaks the Language Server Protocol on standard input and output until the client is gone.',
    examples: [['early-exit lsp --stdio', 'as an editor starts it']],
  },
  table: {},
  common: ['--help'],
  async run(words, { terminal, signal }) {
    if (isHelp(words)) {
      terminal.out.write(commandHelp(terminal.out, this.help, this.table));
      return 0;
    }
    const { checkServerWords, startServer } = await import('../language-server/stdio.ts');
    checkServerWords(words);
    startServer(words, signal);
    // Ends with the client, which ends the process.
    return new Promise(() => {});
  },
};
