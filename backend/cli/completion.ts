/** Scripts with which shells complete commands, options and their values: made of the option tables. Pure. */
import { userError } from '../../protocol/errors.ts';
import { nearest } from '../../protocol/nearest.ts';
import type { Option } from '../../protocol/options/kinds.ts';
import { changingFlag } from '../../protocol/options/options.ts';
import { quoted } from '../../protocol/shell-word.ts';
import type { Command } from './command.ts';
import type { CommonFlag } from './flags.ts';

export const shells = ['bash', 'zsh', 'fish', 'powershell'] as const;
type Shell = (typeof shells)[number];

/** What may follow a flag: nothing, one of these words, or a file name or any text. */
type Value = 'none' | 'text' | readonly string[];

interface Flag {
  readonly name: string;
  readonly value: Value;
  readonly help: string;
  readonly repeats: boolean;
  /** Whether it takes words up to the next flag. */
  readonly takesMany: boolean;
}

interface Completed {
  readonly command: string;
  readonly summary: string;
  /** Words that may follow the command directly. */
  readonly words: readonly string[];
  /** Whether files may follow it without a flag. */
  readonly takesFiles: boolean;
  readonly flags: readonly Flag[];
}

/** The script for the shell that `words` names. @throws UserError for any other words. */
export function completionScript(words: readonly string[], commands: readonly Command[]): string {
  const [word] = words;
  const shell = shells.find((name) => name === word);
  if (shell === undefined || words.length > 1) {
    const near = word === undefined ? null : nearest(word, shells);
    throw userError(
      'bad-argument',
      `completion takes one of ${shells.join(', ')}${word === undefined ? '' : `, not ${words.join(' ')}`}.`,
      near === null || near === word ? undefined : `Did you mean early-exit completion ${near}?`,
    );
  }
  return scripts[shell](completedOf(commands));
}

function completedOf(commands: readonly Command[]): Completed[] {
  const own = commands.map(({ help, table, common }) => ({
    command: help.name,
    summary: help.summary,
    words: help.name === 'completion' ? shells : [],
    takesFiles: help.positional !== undefined,
    flags: [...Object.entries(table).map(([name, option]) => flagOf(name, option)), ...common.map(commonFlag)],
  }));
  const names = own.map(({ command }) => command);
  return [
    ...own,
    { command: 'help', summary: 'What a command does, and its options.', words: names, takesFiles: false, flags: [] },
    { command: 'version', summary: 'The version.', words: [], takesFiles: false, flags: [] },
  ];
}

function flagOf(name: string, option: Option<unknown>): Flag {
  const { type, help, values } = option;
  const value = type === 'boolean' ? 'none' : values === null ? 'text' : Object.keys(values);
  return { name: changingFlag(name, option), value, help, repeats: type === 'list', takesMany: option.variadic };
}

const commonFlag = (name: CommonFlag): Flag => ({
  name,
  value: name === '--config' ? 'text' : 'none',
  help: { '--config': 'Options from a JSON file.', '--json': 'Results as JSON.', '--help': 'Help.' }[name],
  repeats: false,
  takesMany: false,
});

const scripts: Readonly<Record<Shell, (all: readonly Completed[]) => string>> = {
  bash: (all) => {
    const values = all.flatMap(({ command, flags }) =>
      flags.flatMap(({ name, value }) =>
        value === 'none' ? [] : [`    '${command} ${name}') words='${value === 'text' ? '' : value.join(' ')}' ;;`],
      ),
    );
    const flags = all.map(({ command, words, flags }) => {
      const names = [...words, ...flags.map(({ name }) => name)].join(' ');
      return `    ${command}) words='${names}' ;;`;
    });
    return `# bash completion of early-exit
_early_exit() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="\${COMP_WORDS[1]}" words=none
  # Behind --flag=, whose parts are words of their own.
  if [ "$previous" = = ]; then previous="\${COMP_WORDS[COMP_CWORD-2]}"
  elif [ "$current" = = ]; then current=''; fi
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='${all.map(({ command }) => command).join(' ')}'
  else case "$command $previous" in
${values.join('\n')}
  esac; fi
  [ "$words" != none ] || case "$command" in
${flags.join('\n')}
    *) words='' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _early_exit early-exit
`;
  },

  zsh: (all) => {
    const text = (each: string): string => each.replace(/[[\]:\\]/g, '\\$&');
    const spec = ({ name, value, help, repeats, takesMany }: Flag): string => {
      if (value === 'none') return quoted(`${name}[${text(help)}]`);
      const words = value === 'text' ? '_files' : `(${value.join(' ')})`;
      return quoted(`${repeats ? '*' : ''}${name}=[${text(help)}]:${takesMany ? '*-*:' : ''}value:${words}`);
    };
    const cases = all.map(({ command, words, takesFiles, flags }) => {
      const first = words.length > 0 ? ` '1:word:(${words.join(' ')})'` : takesFiles ? " '*:file:_files'" : '';
      return `    ${command}) _arguments${first} ${flags.map(spec).join(' ')} ;;`;
    });
    return `#compdef early-exit
_early_exit() {
  local -a commands=(
${all.map(({ command, summary }) => `    ${quoted(`${command}:${text(summary)}`)}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
${cases.join('\n')}
  esac
}
compdef _early_exit early-exit
# As a file of fpath it is loaded for the first completion, which has to be answered, too.
if [[ $funcstack[1] = _early-exit ]]; then _early_exit "$@"; fi
`;
  },

  fish: (all) => {
    const lines = all.flatMap(({ command, summary, words, flags }) => {
      const within = `complete -c early-exit -n '__fish_seen_subcommand_from ${command}'`;
      return [
        `complete -c early-exit -f -n __fish_use_subcommand -a ${command} -d ${quoted(summary)}`,
        ...(words.length > 0 ? [`${within} -f -a ${quoted(words.join(' '))}`] : []),
        ...flags.map(({ name, value, help }) => {
          const behind = value === 'none' ? '' : value === 'text' ? ' -r' : ` -xa ${quoted(value.join(' '))}`;
          return `${within} -l ${name.slice(2)}${behind} -d ${quoted(help)}`;
        }),
      ];
    });
    return `# fish completion of early-exit\n${lines.join('\n')}\n`;
  },

  powershell: (all) => {
    const list = (words: readonly string[]): string => `@(${words.map((word) => `'${word}'`).join(', ')})`;
    const flags = all.map(
      ({ command, words, flags }) => `    '${command}' = ${list([...words, ...flags.map(({ name }) => name)])}`,
    );
    const values = all.flatMap(({ command, flags }) =>
      flags.flatMap(({ name, value }) =>
        typeof value === 'string' ? [] : [`    '${command} ${name}' = ${list(value)}`],
      ),
    );
    return `# PowerShell completion of early-exit
Register-ArgumentCompleter -Native -CommandName early-exit -ScriptBlock {
  param($current, $line, $position)
  $flags = @{
${flags.join('\n')}
  }
  $values = @{
${values.join('\n')}
  }
  $words = @($line.CommandElements | ForEach-Object { $_.ToString() })
  if ($current -ne '') { $words = @($words | Select-Object -SkipLast 1) }
  $found = if ($words.Count -lt 2) { ${list(all.map(({ command }) => command))} }
  elseif ($values.ContainsKey("$($words[1]) $($words[-1])")) { $values["$($words[1]) $($words[-1])"] }
  else { $flags[$words[1]] }
  $found | Where-Object { $_ -like "$current*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`;
  },
};
