/**
 * The manifest's `contributes`, made from the command table and the option table. `scripts/manifest.ts` writes it into
 * package.json, and a test fails when the two differ. Knows no `vscode`.
 */
import { betterModels, fetchMinutes } from '../protocol/models.ts';
import { rangeKeywords, type Option } from '../protocol/options/kinds.ts';
import { settingGroups, tuningOptions } from '../protocol/options/groups.ts';
import { markColour, palette, shades, tintColour, tokenType, type Shade } from '../protocol/palette.ts';
import { milestoneKey, type Milestone } from './milestones.ts';
import { commandId, commandKeys, commands, hasGeneratedText, type CommandKey, type CommandSpec } from './commands.ts';
import { restrictedSettings } from './settings/restricted-settings.ts';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** `onStartupFinished`: completions and interrupted runs do not wait for a command. The other events can come before that. */
export const activationEvents = ['onStartupFinished', 'onLanguage:exittrace', 'onWebviewPanel:earlyExit.curves'];

export const capabilities = {
  untrustedWorkspaces: {
    supported: 'limited',
    description:
      'In a folder that is not trusted, nothing is tuned or served, and the model, exits, text, programs and server that its settings name are not used.',
    restrictedConfigurations: restrictedSettings,
  },
  virtualWorkspaces: { supported: false, description: 'Models and exits are read from disk.' },
};

export function contributions(): Record<string, Json> {
  return {
    commands: commandKeys.map(commandEntry),
    keybindings: [
      {
        command: commandId('generate'),
        key: 'ctrl+alt+e',
        win: afterCtrlK('ctrl+alt+e'),
        mac: 'cmd+alt+e',
        when: 'editorTextFocus && !editorReadonly',
      },
      { command: commandId('stopGeneration'), key: 'escape', when: 'earlyExit.generating && editorTextFocus' },
      {
        command: commandId('hideSuggestion'),
        key: 'escape',
        when: 'inlineSuggestionVisible && earlyExit.suggestionGrows',
      },
      {
        command: commandId('showCurves'),
        key: 'ctrl+alt+l',
        win: afterCtrlK('ctrl+alt+l'),
        mac: 'cmd+alt+l',
        // On a Mac the find widget has this key.
        when: '!findWidgetVisible',
      },
    ],
    menus: {
      commandPalette: commandKeys
        .filter((key) => (commands[key] as CommandSpec).palette === false)
        .map((key) => ({ command: commandId(key), when: 'false' })),
      'editor/title': [
        { command: commandId('showDetails'), group: 'navigation', when: 'resourceLangId == exittrace' },
        { command: commandId('stopGeneration'), group: 'navigation', when: 'earlyExit.generating' },
      ],
      'editor/context': [
        { command: commandId('generate'), group: '1_modification@9', when: 'editorTextFocus && !editorReadonly' },
        { command: commandId('showDetails'), group: '1_modification@9', when: 'earlyExit.hasTrace' },
        { command: commandId('saveTrace'), group: '1_modification@9', when: hasGeneratedText },
        { command: commandId('clearTraces'), group: '1_modification@9', when: hasGeneratedText },
      ],
      'view/title': [
        { command: commandId('tune'), group: 'navigation@1', when: 'view == earlyExit.runs' },
        { command: commandId('showCurves'), group: 'navigation@2', when: 'view == earlyExit.runs' },
        { command: commandId('importExits'), group: 'navigation@1', when: 'view == earlyExit.exits' },
        { command: commandId('refresh'), group: 'navigation@3', when: 'view =~ /^earlyExit\\./' },
      ],
      'view/item/context': [
        { command: commandId('pauseRun'), group: 'inline@1', when: 'viewItem == run.running' },
        { command: commandId('stopRun'), group: 'inline@2', when: 'viewItem =~ /^run\\.(running|paused)$/' },
        { command: commandId('resumeRun'), group: 'inline@1', when: 'viewItem =~ /^run\\.(paused|stopped|failed)$/' },
        { command: commandId('calibrate'), group: 'inline@1', when: 'viewItem == exits' },
        { command: commandId('useExits'), group: 'inline@2', when: 'viewItem == exits' },
        { command: commandId('calibrate'), group: 'exits@1', when: 'viewItem == exits' },
        { command: commandId('evaluate'), group: 'exits@2', when: 'viewItem == exits' },
        { command: commandId('exportExit'), group: 'exits@3', when: 'viewItem == exits' },
        { command: commandId('showReport'), group: 'exits@4', when: 'viewItem == exits' },
        { command: commandId('showReport'), group: 'report', when: 'viewItem =~ /^run\\./' },
        { command: commandId('showReport'), group: 'inline', when: 'viewItem == study' },
        { command: commandId('useModel'), group: 'inline', when: 'viewItem == model' },
      ],
    },
    viewsContainers: {
      activitybar: [{ id: 'earlyExit', title: 'Early Exit', icon: 'extension/media/early-exit.svg' }],
    },
    views: {
      earlyExit: [
        { id: 'earlyExit.runs', name: 'Runs', icon: '$(graph-line)' },
        { id: 'earlyExit.exits', name: 'Exits', icon: '$(git-branch)' },
        { id: 'earlyExit.studies', name: 'Studies', icon: '$(beaker)' },
        { id: 'earlyExit.models', name: 'Models', icon: '$(symbol-misc)' },
      ],
    },
    viewsWelcome: [
      {
        view: 'earlyExit.runs',
        contents: `No exits have been tuned here yet. The model that ships and this folder's own files are enough to start.\n[Tune Early Exits](command:${commandId('tune')})`,
        when: 'workspaceFolderCount > 0',
      },
      {
        view: 'earlyExit.runs',
        contents: 'Open a folder to tune early exits on its files.\n[Open Folder](command:vscode.openFolder)',
        when: 'workspaceFolderCount == 0',
      },
      {
        view: 'earlyExit.exits',
        contents: 'Exits that you tune appear here. Choose which of them generation uses.',
      },
      {
        view: 'earlyExit.studies',
        contents:
          'Sweeps and judged tasks (early-exit sweep, early-exit evaluate --tasks) appear here, each with its report.',
      },
    ],
    // A font with one glyph, drawn like early-exit.svg: the status bar takes icons only from fonts.
    icons: {
      'early-exit': {
        description: 'Early Exit',
        default: { fontPath: './extension/media/early-exit.woff', fontCharacter: '\\E001' },
      },
    },
    colors: themeColours(),
    semanticTokenTypes: shades.map((shade) => ({ id: tokenType(shade), description: `${shadeText(shade)}.` })),
    languages: [
      {
        id: 'exittrace',
        aliases: ['Exit Trace'],
        extensions: ['.exittrace'],
        firstLine: '^exittrace \\d+$',
        configuration: './syntaxes/exittrace.language.json',
        icon: { light: './extension/media/exittrace-light.svg', dark: './extension/media/exittrace-dark.svg' },
      },
    ],
    grammars: [{ language: 'exittrace', scopeName: 'source.exittrace', path: './syntaxes/exittrace.tmLanguage.json' }],
    jsonValidation: [
      { fileMatch: '**/*.exits/exits.json', url: './extension/schemas/exits.schema.json' },
      ...['tune', 'evaluate', 'generate', 'calibrate'].map((command) => ({
        fileMatch: `**/early-exit.${command}.json`,
        url: `./docs/schemas/${command}.schema.json`,
      })),
    ],
    languageModelChatProviders: [{ vendor: 'early-exit', displayName: 'Early Exit' }],
    walkthroughs: [walkthrough()],
    configuration: configuration(),
  };
}

/** On Windows Ctrl+Alt is AltGr, which types letters such as €, é and ł. */
const afterCtrlK = (keys: string): string => `ctrl+k ${keys}`;

function commandEntry(key: CommandKey): Json {
  const { title, icon, enabled } = commands[key] as CommandSpec;
  return {
    command: commandId(key),
    title,
    category: 'Early Exit',
    ...(icon !== undefined && { icon }),
    ...(enabled !== undefined && { enablement: enabled }),
  };
}

const shadeText = (shade: Shade): string => {
  if (shade === 'text') return 'Generated tokens drafted from earlier text';
  if (shade === 'final') return 'Generated tokens of the final exit';
  return `Generated tokens of exit ${shade.slice(4)} of the palette's 6, 1 being the earliest`;
};

const themeColours = (): Json =>
  shades.flatMap((shade) => [
    {
      id: markColour(shade),
      description: `${shadeText(shade)}: lines and marks.`,
      defaults: { ...palette[shade].mark },
    },
    { id: tintColour(shade), description: `${shadeText(shade)}: background.`, defaults: { ...palette[shade].tint } },
  ]);

/** Each step is ticked when its work is done, not when its command is called. */
const walkthrough = (): Json => ({
  id: 'start',
  title: 'Get Started with Early Exits',
  description: 'Tune exits on your own files and see at which layer every token leaves.',
  steps: [
    step('tune', 'Tune exits', 'The question that starts a run: model, data, exits and preset, each with a default.', [
      `Exits are small heads on some layers of a frozen model; tuning trains them and never changes the model. The model that ships and the files of this folder are enough. ${presetTexts()}; a large model may take longer.`,
      `[Tune Early Exits](command:${commandId('tune')})`,
    ]),
    step(
      'curves',
      'Watch the gap close',
      'The gap of each exit to the final one while they are tuned, with the dashed line of 0 to reach.',
      [
        'One curve for each exit: how much worse than the whole model it predicts the text. At 0 it predicts as well. Dots are measured on text that it was not tuned on. Pause, resume and stop keep the work done.',
        `[Show Loss Curves](command:${commandId('showCurves')})`,
      ],
    ),
    step('generate', 'Generate', 'Generated code in an editor, each token in the colour of its exit.', [
      'Put the cursor where code should continue. A token has the colour of its exit: early exits are cool, late ones warm, the final exit is grey. One Undo removes the whole generation.',
      `[Generate with Early Exits](command:${commandId('generate')})`,
    ]),
    step(
      'look',
      'Look at each token',
      'Trace details: the text, the share of each exit, and what every exit predicted for one token.',
      [
        'Hover a token, click the line above it for the whole trace, or save it. What is too much can be switched off one by one.',
        `[Show Trace Details](command:${commandId('showDetails')})`,
        '[Display Settings](command:workbench.action.openSettings?%5B%22earlyExit.display%22%5D)',
      ],
    ),
    step(
      'model',
      'Choose a model',
      'The list of models: those on this machine, recommended ones, and a search of the hub.',
      [
        `The model that ships shows how exits work, and no more. The list has what is on this machine already, and better ones to download: ${recommendedTexts()}. Exits are tuned for one model: tune some for yours.`,
        `[Choose a Model](command:${commandId('chooseModel')})`,
      ],
    ),
    step('complete', 'Complete while you type', 'A suggestion in grey after the cursor, which Tab takes.', [
      'Suggestions come while you type, from your own machine: Tab takes one whole, Ctrl+→ its next word, Alt+] shows another. A model that was trained to fill in the middle, such as Qwen2.5-Coder, reads the text after the cursor, too.',
      `[Switch Completions On or Off](command:${commandId('toggleCompletions')})`,
    ]),
  ],
});

/** `quick takes about a minute, standard about ten minutes …`, from the presets. */
const presetTexts = (): string =>
  Object.entries(tuningOptions.preset.values ?? {})
    .map(([preset, takes], i) => `${i === 0 ? `The preset ${preset} takes` : preset} ${takes}`)
    .join(', ');

const recommendedTexts = (): string => {
  const [code, chats] = betterModels().map(
    ({ name, bytes }) => `${name} (${Math.round(bytes / 1e6)} MB, about ${fetchMinutes(bytes)} min)`,
  );
  return `${code} for code, ${chats} for chats`;
};

/** Steps with a drawing, which takes the colours of the theme. */
const drawn: readonly Milestone[] = ['model'];

function step(milestone: Milestone, title: string, altText: string, lines: readonly string[]): Json {
  const picture = (theme: string): string => `extension/walkthrough/${milestone}-${theme}.png`;
  return {
    id: milestone,
    title,
    description: lines.join('\n'),
    media: drawn.includes(milestone)
      ? { svg: `extension/walkthrough/${milestone}.svg`, altText }
      : {
          image: {
            dark: picture('dark'),
            light: picture('light'),
            hc: picture('high-contrast'),
            hcLight: picture('light'),
          },
          altText,
        },
    completionEvents: [`onContext:${milestoneKey(milestone)}`],
  };
}

/** A category for the usual settings of each group and one for its advanced ones, as `--help` shows options. */
const configuration = (): Json => {
  let order = 0;
  return settingGroups.flatMap(({ title, prefix, options }) =>
    [false, true].flatMap((advanced) => {
      const settings = Object.entries<Option<unknown>>(options)
        .filter(([, option]) => option.scope !== null && option.advanced === advanced)
        .map(([name, option]) => [
          ['earlyExit', ...(prefix ? [prefix] : []), name].join('.'),
          { ...settingSchema(option), order: order++ },
        ]);
      if (settings.length === 0) return [];
      return [{ title: advanced ? `${title}, advanced` : title, properties: Object.fromEntries(settings) as Json }];
    }),
  );
};

function settingSchema(option: Option<unknown>): Record<string, Json> {
  const tags = option.advanced ? { tags: ['advanced'] } : {};
  const common = { scope: option.scope, default: option.default, markdownDescription: option.help, ...tags };
  const type = (name: string): Json => (option.optional ? [name, 'null'] : name);
  switch (option.type) {
    case 'integer':
    case 'number':
      return { type: type(option.type), ...rangeKeywords(option), ...common };
    case 'boolean':
      return { type: type('boolean'), ...common };
    case 'list':
      return { type: 'array', items: { type: 'string' }, ...common };
    case 'enum': {
      const values = option.values ?? {};
      return { type: 'string', enum: Object.keys(values), enumDescriptions: Object.values(values), ...common };
    }
    case 'string':
    case 'notation':
      return { type: type('string'), ...common };
  }
}
