/** What a command is, and how one is made of a recipe and a way to draw its events. */
import { userError, type UserError } from '../../protocol/errors.ts';
import type { JobEvents, JobOptions } from '../../protocol/jobs.ts';
import type { Option } from '../../protocol/options/kinds.ts';
import {
  flagOrigin,
  optionTables,
  parseOptions,
  type CommandName,
  type CommandOptions,
  type OptionTable,
} from '../../protocol/options/options.ts';
import { runInWorker } from '../worker/engine.ts';
import { rememberUsed, type LastUsed } from '../recipes/at-hand/last-used.ts';
import { chosenFiles } from './chosen.ts';
import { mixedOrigin, readConfig } from './config.ts';
import type { Context } from './context.ts';
import { commonFlags, parseFlags, type CommonFlag } from './flags.ts';
import { commandHelp, type CommandHelp, type Defaults } from './help.ts';
import { showJson } from './json.ts';
import { shownEvents } from './draw/shown-events.ts';
import type { Terminal } from './draw/terminal.ts';

export interface Command {
  readonly help: CommandHelp;
  /** Its options by name, for help and completion. */
  readonly table: OptionTable;
  /** Which of the common flags it takes. */
  readonly common: readonly CommonFlag[];
  /** Answers the exit code; throws UserErrors. */
  run(words: readonly string[], context: Context): Promise<number>;
}

type Events<Name extends CommandName> = AsyncIterable<JobEvents[Name]>;

interface RecipeCommand<Name extends CommandName> {
  /** Draws its events. */
  readonly show: (events: Events<Name>, terminal: Terminal, options: CommandOptions[Name]) => Promise<unknown>;
  /** What the recipe is given, if that is not what the user gave. */
  readonly prepare?: (options: CommandOptions[Name], context: Context) => Promise<CommandOptions[Name]>;
  /** What it worked with, for the next command in this folder, as far as an event tells it; of several events the last counts. */
  readonly used?: (options: CommandOptions[Name], event: JobEvents[Name]) => LastUsed | null;
  /** What the command fails with in the end, although its recipe went on, as far as an event tells it. */
  readonly failure?: (event: JobEvents[Name]) => UserError | null;
}

/** Runs a recipe and draws its events. */
export function recipeCommand<Name extends CommandName>(
  name: Name,
  help: Omit<CommandHelp, 'name'>,
  { show, prepare, used, failure }: RecipeCommand<Name>,
): Command {
  return optionsCommand({ ...help, name }, name, async (options, json, context) => {
    const prepared = (await prepare?.(options, context)) ?? options;
    const worked: { with: LastUsed | null } = { with: null };
    const running = runInWorker(name, prepared as JobOptions[Name], { signal: context.signal });
    const noted = notingUsed<JobEvents[Name]>(running, (event) => used?.(prepared, event) ?? null, worked);
    const events = failingInTheEnd(noted, (event) => failure?.(event) ?? null);
    const { terminal } = context;
    await (json ? showJson(events, terminal) : show(shownEvents(events, terminal), terminal, prepared));
    if (!context.signal.aborted && worked.with !== null) rememberUsed(worked.with);
  });
}

/** Passes events on, and keeps the last files that one of them tells. */
export async function* notingUsed<Event>(
  events: AsyncIterable<Event>,
  used: (event: Event) => LastUsed | null,
  worked: { with: LastUsed | null },
): AsyncGenerator<Event, void> {
  for await (const event of events) {
    worked.with = used(event) ?? worked.with;
    yield event;
  }
}

/** Passes events on, then throws what one of them tells. */
export async function* failingInTheEnd<Event>(
  events: AsyncIterable<Event>,
  failure: (event: Event) => UserError | null,
): AsyncGenerator<Event, void> {
  let found: UserError | null = null;
  for await (const event of events) {
    found ??= failure(event);
    yield event;
  }
  if (found !== null) throw found;
}

/** A command with the options of a recipe, except those `without`. */
export function optionsCommand<Name extends CommandName>(
  help: CommandHelp,
  name: Name,
  act: (options: CommandOptions[Name], json: boolean, context: Context) => Promise<void>,
  {
    defaults = () => ({}),
    without = [],
    common = commonFlags,
    endsBySignal = false,
  }: {
    readonly defaults?: () => Defaults;
    readonly without?: readonly (keyof CommandOptions[Name])[];
    readonly common?: readonly CommonFlag[];
    /** It runs until it is stopped: that is no interruption. */
    readonly endsBySignal?: boolean;
  } = {},
): Command {
  const leftOut = new Set<PropertyKey>(without);
  const table = Object.fromEntries(
    Object.entries<Option<unknown>>(optionTables[name]).filter(([option]) => !leftOut.has(option)),
  );
  return {
    help,
    table,
    common,
    async run(words, context) {
      const flags = parseFlags(help.name, table, words, help.positional, common);
      if (flags.help !== null) {
        const { out } = context.terminal;
        out.write(commandHelp(out, help, table, { level: flags.help, defaults: defaults(), common, endsBySignal }));
        return 0;
      }
      const config = flags.config === null ? {} : readConfig(flags.config);
      const origin = flags.config === null ? flagOrigin : mixedOrigin(flags.config, config, flags.given);
      const given = { ...defaults(), ...config, ...flags.given };
      const unfit = Object.keys(config).find((option) => leftOut.has(option));
      if (unfit !== undefined)
        throw userError(origin.code, `${origin.name(unfit, name)} is no option of ${help.name}.`, 'Leave it out.');
      const chosen = await chosenFiles(table, given, context);
      const options = parseOptions(name, { ...given, ...chosen }, origin);
      await act(options, flags.json, context);
      return context.signal.aborted && !endsBySignal ? INTERRUPTED : 0;
    },
  };
}

export const INTERRUPTED = 130;
