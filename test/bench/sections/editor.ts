/** What an editor waits for: activation, the annotations of a long generation, and a hover while tuning runs at full load. */
import { execaNode } from 'execa';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { TextDocument } from 'vscode-languageserver-textdocument';
import { annotate, annotateFile } from '../../../backend/language-server/annotated-text.ts';
import * as annotations from '../../../backend/language-server/annotations.ts';
import { emptyTrace, serialiseTrace, type Trace } from '../../../protocol/exittrace.ts';
import { runReported, startRun, stopRun, type RunEvent, type RunSummary } from '../../../protocol/server.ts';
import type { TokenRecord } from '../../../protocol/trace.ts';
import { build, freshFolder } from '../children.ts';
import { startLanguageServer } from '../contestants/language-server.ts';
import { root, shippedModel, typescriptText } from '../material.ts';
import { alternate, measurement, timed, type Contestant, type Measurement } from '../measure.ts';
import { milliseconds, type Goal } from '../report.ts';
import { progress, type Section } from './section.ts';

const tokenCount = 2000;
const layers = 30;
const hovers = 60;
const hoverEveryMilliseconds = 250;

const lenses = 'lenses';
const loading = 'loading';
const activating = 'activating';

export const editorSection: Section = {
  title: 'What the editor waits for',
  takes: 'about a minute',
  each: 'once',
  async run({ rounds, threads }) {
    build();
    const measured = await alternate([...annotationContestants(), activation], rounds, progress('editor', rounds));
    const hover = await hoverWhileTuning(threads);
    const activationSum = measured.get('activation')!;
    const goal = (what: string, value: Measurement, limit: number): Goal => ({
      what,
      value: 1000 * value.median,
      unit: ' ms',
      bound: 'at most',
      limit,
    });
    return {
      goals: [
        goal('activation of the extension', activationSum, 50),
        goal(`lenses of a generation of ${tokenCount} tokens`, measured.get(lenses)!, 50),
        goal('a hover while tuning runs at full load', hover, 100),
      ],
      tables: [
        {
          caption: 'Milliseconds',
          columns: ['', 'ms'],
          rows: [...measured.values(), hover].map((one) => [one.name, milliseconds(one)]),
        },
      ],
      notes: [
        `Annotations: a trace of ${tokenCount} tokens with what four exits said of each, tied to a TypeScript document; computed anew each time.`,
        'Activation: the bundle is loaded and activated in a new process each time, against an editor that answers at once.',
        `Hover: ${hovers} requests, one every ${hoverEveryMilliseconds} ms, to the built language server, while it tunes the model that ships with ${threads} threads; from the request to the answer, on a trace of ${tokenCount} tokens.`,
      ],
      measurements: [...measured.values(), hover],
    };
  },
};

function longTrace(): Trace {
  const pieces = typescriptText('heldout')
    .documents.join('\n')
    .match(/\s?\w+|[^\w]/g)!
    .slice(0, tokenCount);
  const exits = ['8:lens', '16:lens', '24:lens', 'final'];
  const tokens = pieces.map((text, index): TokenRecord => {
    const at = (index * 7) % exits.length;
    const layerOf = (i: number): number => [8, 16, 24, layers][i]!;
    const token = { id: index, text, probability: 0.9 };
    return {
      sequence: 0,
      index,
      id: index,
      text,
      layer: layerOf(at),
      exit: exits[at]!,
      confidence: 0.9,
      opinions: exits.map((exit, i) => ({
        exit,
        layer: layerOf(i),
        confidence: 0.9,
        token,
        candidates: [token, { id: index + 1, text: 'x', probability: 0.05 }],
      })),
    };
  });
  return emptyTrace({ model: 'bench', layers, exits, policy: 'confidence 0.8', tokens });
}

function annotationContestants(): Contestant[] {
  const trace = longTrace();
  const text = trace.tokens.map((token) => token.text).join('');
  const document = TextDocument.create('file:///a.ts', 'typescript', 1, text);
  const at = (offset: number): ReturnType<typeof document.positionAt> => document.positionAt(offset);
  const file = serialiseTrace(trace);
  const contestant = (name: string, work: () => unknown): Contestant => ({
    name,
    turn: async () => ({ [name]: await timed(async () => work()) }),
  });
  const tied = annotate('g', trace, 0, text)!;
  return [
    contestant(lenses, () => annotations.codeLenses(annotate('g', trace, 0, text)!, at)),
    contestant('semantic tokens', () => annotations.semanticTokens([tied], text, at)),
    contestant('inlay hints', () => annotations.inlayHints(tied, { start: 0, end: text.length }, at)),
    contestant('hover', () => annotations.hover(tied, text.length >> 1, at)),
    contestant('reading a trace file', () => annotateFile('file:///a.exittrace', 'a.exittrace', file)),
  ];
}

const activation: Contestant = {
  name: 'activation',
  async turn() {
    const script = path.join(import.meta.dirname, '../contestants/activation.mjs');
    const { stdout } = await execaNode(script, [path.join(root, 'dist/extension.cjs')], { nodeOptions: [] });
    const { load, activate } = JSON.parse(stdout) as { load: number; activate: number };
    return {
      activation: (load + activate) / 1000,
      [`of that ${loading}`]: load / 1000,
      [`of that ${activating}`]: activate / 1000,
    };
  },
};

/** Hovers from when the run makes its steps until there are enough. */
async function hoverWhileTuning(threads: number): Promise<Measurement> {
  const folder = freshFolder('hover');
  const data = path.join(folder, 'data.jsonl');
  const { documents } = typescriptText('train');
  writeFileSync(
    data,
    documents
      .slice(0, 60)
      .map((text) => JSON.stringify({ text }))
      .join('\n'),
  );
  const server = await startLanguageServer();
  try {
    const uri = 'file:///a.exittrace';
    const text = serialiseTrace(longTrace());
    await server.notify('textDocument/didOpen', {
      textDocument: { uri, languageId: 'exittrace', version: 1, text },
    });
    const stepping = new Promise<void>((resolve, reject) => {
      server.onNotification<RunEvent>(runReported.method, ({ event }) => {
        if (event.type === 'step') resolve();
      });
      setTimeout(() => reject(new Error('tuning did not begin within two minutes')), 120_000).unref();
    });
    const options = { model: shippedModel, data: [data], out: path.join(folder, 'run.exits'), threads, minutes: 5 };
    const run = await server.request<RunSummary>(startRun.method, { title: 'bench', options });
    await stepping;
    const lines = text.split('\n').length;
    const samples: number[] = [];
    for (let i = 0; i < hovers; i++) {
      await new Promise((resolve) => void setTimeout(resolve, hoverEveryMilliseconds));
      const position = { line: Math.floor((lines * (i + 1)) / (hovers + 2)), character: 1 };
      const ask = (): Promise<unknown> => server.request('textDocument/hover', { textDocument: { uri }, position });
      samples.push(await timed(ask));
    }
    await server.request(stopRun.method, { id: run.id });
    return measurement('hover while tuning', samples);
  } finally {
    await server.dispose();
  }
}
