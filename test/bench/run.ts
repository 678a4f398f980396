/** `npm run bench [-- SECTION … --model FILE … --rounds N]`: runs sections and writes docs/results.md and docs/results.json. */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { loadPerCore, thisMachine } from './machine.ts';
import { root } from './material.ts';
import { fewestRounds } from './measure.ts';
import { busy, readResults, writeResults, type SectionResult } from './report.ts';
import { batchesSection, decodeSection } from './sections/decode.ts';
import { editorSection } from './sections/editor.ts';
import { epochsSection } from './sections/epochs.ts';
import { exitsSection } from './sections/exits.ts';
import { losslessSection } from './sections/lossless.ts';
import { memorySection } from './sections/memory.ts';
import type { BenchOptions, Section } from './sections/section.ts';
import { startSection } from './sections/start.ts';
import { stepSection } from './sections/step.ts';

const sections: Readonly<Record<string, Section>> = {
  decode: decodeSection,
  batches: batchesSection,
  step: stepSection,
  epochs: epochsSection,
  memory: memorySection,
  start: startSection,
  exits: exitsSection,
  lossless: losslessSection,
  editor: editorSection,
};

const usage = `npm run bench [-- SECTION …] [--model FILE …] [--exits DIR] [--rounds N] [--threads N] [--draft]

Sections (all, where none is named):
${Object.entries(sections)
  .map(([name, { title, takes }]) => `  ${name.padEnd(8)} ${title}: ${takes}`)
  .join('\n')}

  --model FILE   also this GGUF file or model folder; may be repeated
  --exits DIR    exits for the sections exits and lossless, instead of those they tune
  --rounds N     rounds in which contestants take turns; ${fewestRounds} by default, and at least
  --threads N    2 by default
  --draft        as few rounds as --rounds says, no long prompts, and results to .cache/bench/draft instead of docs
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', multiple: true, default: [] },
    exits: { type: 'string' },
    rounds: { type: 'string', default: `${fewestRounds}` },
    threads: { type: 'string', default: '2' },
    draft: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const unknown = positionals.find((name) => !(name in sections));
const rounds = Number(values.rounds);
const threads = Number(values.threads);
if (values.help) {
  console.log(usage);
} else if (unknown !== undefined) {
  refuse(`There is no section "${unknown}".`);
} else if (!Number.isInteger(rounds) || rounds < 1 || (rounds < fewestRounds && !values.draft)) {
  refuse(`--rounds must be a whole number, at least ${fewestRounds} where the results are to be kept.`);
} else if (!Number.isInteger(threads) || threads < 1) {
  refuse('--threads must be a whole number from 1.');
} else {
  const options: BenchOptions = {
    rounds,
    threads,
    models: values.model,
    exits: values.exits ?? null,
    isDraft: values.draft,
  };
  await runSections(positionals.length ? positionals : Object.keys(sections), options);
}

async function runSections(names: readonly string[], options: BenchOptions): Promise<void> {
  const folder = path.join(root, values.draft ? '.cache/bench/draft' : 'docs');
  for (const name of names) {
    const section = sections[name]!;
    console.error(`${section.title}: ${section.takes}`);
    const load = loadPerCore();
    if (load > busy) console.error(`  the machine is busy (load ${load.toFixed(1)} a core): figures will say so`);
    const started = performance.now();
    const findings = await section.run(options);
    const result: SectionResult = {
      title: section.title,
      machine: thisMachine(),
      date: new Date().toISOString().slice(0, 10),
      seconds: Math.round((performance.now() - started) / 1000),
      load,
      ...findings,
    };
    // Read again each time: a section takes minutes, and another may have been written meanwhile.
    const results = { ...readResults(path.join(folder, 'results.json')), [name]: result };
    const written = await writeResults(folder, results, Object.keys(sections));
    console.error(`  written to ${written.map((file) => path.relative(root, file)).join(' and ')}`);
  }
}

function refuse(sentence: string): void {
  console.error(`${sentence} See npm run bench -- --help.`);
  process.exitCode = 2;
}
