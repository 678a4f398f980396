/** `early-exit start`: the whole of it in a few minutes, as a composition of tune and generate. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { shippedModel } from '../../protocol/options-groups.ts';
import { parseOptions, type GenerateOptions, type TuneOptions } from '../../protocol/options.ts';
import type { Mode } from '../../protocol/trace.ts';
import { runInWorker } from '../worker/engine.ts';
import { packageRoot } from '../recipes/installation.ts';
import { resolveModel } from '../worker/shipped.ts';
import { afterStart } from './advice.ts';
import type { Context } from './context.ts';
import { showGenerate } from './generate.ts';
import type { CommandHelp } from './help.ts';
import { namingOf, writeAdvice } from './naming.ts';
import { shownEvents } from './shown-events.ts';
import { figures, percent, table } from './table.ts';
import type { Stream } from './terminal.ts';
import { showTune } from './tune.ts';

export const startHelp: CommandHelp = {
  name: 'start',
  summary: 'A first run: tune, compare, generate and measure, on the model that ships.',
  description:
    "Tunes three exits for about a minute, in a clone on this project's own TypeScript, else on the files of this folder, " +
    'shows what they learned, generates with them and measures the speed at full depth and with exits.',
  examples: [
    ['early-exit start', 'about two minutes'],
    ["early-exit start --model my.gguf --data 'src/**' --minutes 5", 'the same on your own model and files'],
  ],
};

const PROMPT = 'export function parse(text: string) {';
const NEW_TOKENS = 96;
/** Bolder than the default: a first run wants to show exits. */
const THRESHOLD = 0.7;
const ROUNDS = 3;

/** What `start` gives tune where the user gives nothing. */
export function startDefaults(): Partial<Record<keyof TuneOptions, string | readonly string[]>> {
  const root = packageRoot();
  const sources = ['protocol', 'backend', 'extension', 'webview', 'test'].filter((folder) =>
    existsSync(path.join(root, folder)),
  );
  const data = sources.map((folder) => path.join(root, folder, '**/*.ts'));
  return { model: shippedModel, preset: 'quick', out: freeName('start'), ...(data.length > 0 ? { data } : {}) };
}

/** `start.exits`, or `start-2.exits` … where an earlier run wrote that. */
function freeName(name: string): string {
  for (let i = 1; ; i++) {
    const directory = `${name}${i === 1 ? '' : `-${i}`}.exits`;
    if (!existsSync(directory)) return directory;
  }
}

export async function runStart(given: TuneOptions, { terminal, signal }: Context): Promise<void> {
  const { out, err } = terminal;
  const { bold } = out.colours;
  const heading = (text: string): void => err.write(`\n${err.colours.bold(text)}\n`);

  heading('1. Attach exits to the frozen model and tune them');
  const options = { ...given, model: resolveModel(given.model) };
  const tuned = await showTune(shownEvents(runInWorker('tune', options, { signal }), terminal), terminal, false);
  if (!tuned || signal.aborted) return;

  heading(`2. Generate: each token leaves at the first exit that is at least ${percent(THRESHOLD, 0)} sure`);
  const exits = path.relative(process.cwd(), tuned.directory) || '.';
  const request = parseOptions('generate', {
    model: options.model,
    exits: tuned.directory,
    prompt: [PROMPT],
    maxTokens: NEW_TOKENS,
    mode: 'fast',
    threshold: THRESHOLD,
    // The most probable tokens of a small model soon repeat themselves.
    temperature: 0.6,
    device: options.device,
    gpuLayers: options.gpuLayers,
    threads: options.threads,
  });
  const generated = await showGenerate(
    shownEvents(runInWorker('generate', request, { signal }), terminal),
    terminal,
    request.prompt,
  );
  if (!generated || signal.aborted) return;

  heading(`3. Measure: ${NEW_TOKENS} tokens at full depth and with exits, in turn, median of ${ROUNDS}`);
  const speeds = await measure(request, signal);
  if (signal.aborted) return;
  out.write(speedTable(out, speeds, generated.layers));

  const files = readdirSync(tuned.directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(exits, path.relative(tuned.directory, path.join(entry.parentPath, entry.name))));
  out.write(`\n${bold('Written')}\n${files.map((file) => `  ${file}\n`).join('')}`);
  const naming = namingOf(tuned.directory, given.model, options.data);
  const { full, fast, lossless } = speeds;
  const perSecond = {
    full: full.tokensPerSecond,
    fast: fast.tokensPerSecond,
    lossless: lossless.tokensPerSecond,
  };
  writeAdvice(out, afterStart(perSecond, naming));
}

interface Speed {
  readonly tokensPerSecond: number;
  readonly meanLayer: number;
}

/** Median speed of each mode, alternating so that other work on the machine meets all. */
async function measure(request: GenerateOptions, signal: AbortSignal): Promise<Readonly<Record<Mode, Speed>>> {
  const runs: Record<Mode, Speed[]> = { full: [], fast: [], lossless: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const mode of ['full', 'fast', 'lossless'] as const) {
      for await (const event of runInWorker('generate', { ...request, mode }, { signal })) {
        if (event.type === 'generated') runs[mode].push(event);
      }
    }
  }
  return { full: median(runs.full), fast: median(runs.fast), lossless: median(runs.lossless) };
}

function median(speeds: readonly Speed[]): Speed {
  const sorted = speeds.toSorted((a, b) => a.tokensPerSecond - b.tokensPerSecond);
  return sorted[Math.floor(sorted.length / 2)] ?? { tokensPerSecond: NaN, meanLayer: NaN };
}

function speedTable(
  stream: Stream,
  { full, fast, lossless }: Awaited<ReturnType<typeof measure>>,
  layers: number,
): string {
  const { dim, bold } = stream.colours;
  const ratio = (speed: Speed): string => `${(speed.tokensPerSecond / full.tokensPerSecond).toFixed(2)} ×`;
  const row = (name: string, speed: Speed, note: string): string[] => [
    name,
    bold(figures(speed.tokensPerSecond)),
    `${speed.meanLayer.toFixed(1)} of ${layers}`,
    note,
  ];
  const rows = [
    ['', 'tokens/s', 'mean layer', ''].map(dim),
    row('full depth', full, ''),
    row('with exits', fast, ratio(fast)),
    row('lossless', lossless, `${ratio(lossless)}, the same distribution as full depth`),
  ];
  return table(rows, ['left', 'right', 'right', 'left']);
}
