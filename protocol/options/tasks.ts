/** Options of evaluation on judged tasks. */
import { boolean, integer, list, notation, number, optionalInteger, optionalText } from './kinds.ts';

/** How answers are written, beside full depth. */
export type WayRequest =
  | { readonly kind: 'lossless' }
  | { readonly kind: 'calibrated' }
  | { readonly kind: 'threshold'; readonly threshold: number };

const waysNotation =
  'full, or some of lossless, calibrated, sweep and thresholds from 0 to 1, such as lossless,0.9,0.8';

/** 1.0, 0.95 … 0.0: from never leaving early to leaving at the first exit. */
export const sweepThresholds: readonly number[] = Array.from({ length: 21 }, (_, i) => (20 - i) / 20);

/** `lossless,calibrated,sweep`, `0.9,0.8`; `full`: full depth only. Null if the text is none of these. */
function parseWays(text: string): readonly WayRequest[] | null {
  const found = new Map<string, WayRequest>();
  const threshold = (value: number): void => void found.set(String(value), { kind: 'threshold', threshold: value });
  for (const word of text.split(',').map((each) => each.trim())) {
    if (word === 'lossless' || word === 'calibrated') found.set(word, { kind: word });
    else if (word === 'sweep') sweepThresholds.forEach(threshold);
    else if (/^(0|1|0?\.\d+|[01]\.\d+)$/.test(word) && Number(word) <= 1) threshold(Number(word));
    else if (word !== 'full') return null;
  }
  return [...found.values()];
}

export const taskOptions = {
  tasks: list({
    default: [],
    notEmpty: true,
    variadic: true,
    placeholder: 'FILE…',
    help: 'Tasks whose answers are written and judged, instead of scoring text: HumanEval, HumanEval-Infilling or GSM8K as published, or your own (docs/formats.md), .jsonl or .jsonl.gz.',
  }),
  ways: notation<readonly WayRequest[]>({
    default: 'lossless,calibrated,sweep',
    placeholder: 'full|lossless,calibrated,sweep,T,…',
    expected: waysNotation,
    parse: parseWays,
    help: 'How answers are written besides full depth: losslessly, with the calibrated thresholds, and with each given threshold; sweep: 21 thresholds from 1 to 0.',
  }),
  runCode: boolean({
    default: false,
    help: 'Run the code that the model writes, to judge it: in a separate process, for a short time, and, if the system can enforce it, without network and without access to your files. The code is still unchecked.',
  }),
  first: optionalInteger({ minimum: 1, help: 'Evaluate only the first N tasks of each file; by default all.' }),
  answerTokens: optionalInteger({
    advanced: true,
    minimum: 1,
    maximum: 1_000_000,
    help: 'Maximum number of tokens of an answer; by default 8 to 384, depending on the form of the task.',
  }),
  margin: number({
    advanced: true,
    default: 2,
    minimum: 0,
    maximum: 100,
    help: "Points by which a way's score may be below full depth's and still count as not worse.",
  }),
  together: integer({
    advanced: true,
    default: 16,
    minimum: 1,
    maximum: 64,
    help: 'Answers written at a time; speed is measured separately.',
  }),
  timedTasks: integer({
    advanced: true,
    default: 16,
    minimum: 0,
    maximum: 100_000,
    help: 'Tasks of each set on which the speed of every way is measured, one text at a time, ways in turn; 0 for none.',
  }),
  out: optionalText({
    placeholder: 'DIR',
    help: 'Folder in which answers are saved; the same evaluation resumes there. By default the name of the exits, or of the model, with .tasks.',
  }),
};
