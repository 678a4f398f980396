/** The questions of the guide in its order, each with what the paper says and how our answer is made of kept runs. */
import type { SweptGroup } from '../protocol/events.ts';
import type { LinesFigure } from '../backend/evaluation/report/figure.ts';
import { overSpeed } from '../backend/evaluation/report/task-figures.ts';
import { inPercent, spreadText } from '../protocol/spread-text.ts';
import { plural } from '../protocol/plural.ts';
import { acrossText, besideFirstText, parametersText, riseText, tokensText } from './guide-sentences.ts';
import { comparedText, elsewhereTable, judgedText, sweepTable } from './guide-tables.ts';
import type { Kept } from './kept-studies.ts';
import type { Study, SweepStudy, TasksStudy } from './study.ts';

interface Question {
  readonly title: string;
  readonly paper: string;
  readonly answer: (kept: Kept) => string;
}

const missing = (what: string): string => `Not answered yet: ${what}`;

/** Those that are not empty, each once: studies may say the same. */
const paragraphs = (...parts: readonly (string | null)[]): string =>
  [...new Set(parts)].filter((part) => part !== null && part !== '').join('\n\n');

type OfKind<Kind extends Study['kind']> = Extract<Study, { readonly kind: Kind }>;

/** The answers of those of some studies that are kept, and what they say together; if none is kept, what is missing. */
const answersOf =
  <Kind extends Study['kind']>(kind: Kind) =>
  (
    kept: Kept,
    names: readonly string[],
    answer: (study: OfKind<Kind>, name: string) => string,
    without: string,
    across: (studies: readonly OfKind<Kind>[]) => string = () => '',
  ): string => {
    const isOfKind = (study: Study | null): study is OfKind<Kind> => study?.kind === kind;
    const found = names.flatMap((name) => {
      const study = kept(name);
      return isOfKind(study) ? [{ name, study }] : [];
    });
    if (found.length === 0) return missing(without);
    return paragraphs(...found.map(({ study, name }) => answer(study, name)), across(found.map(({ study }) => study)));
  };
const ofSweeps = answersOf('sweep');
const ofTasks = answersOf('tasks');

const sizes = (study: string): string[] => ['5m', 'smollm2', '05b', '15b'].map((size) => `${study}-${size}`);

/** Kept studies of judged tasks: what was asked, and of which exits. */
export const judged: Readonly<Record<string, string>> = {
  'infilling-05b-python':
    '**Gaps of one line in Python, asked as in the editor**: the last lines before the gap follow the text after it. Exits at 8, 16 and 22 were tuned for ten minutes on modules of Python’s own library and calibrated on them. Of all 1,033 tasks calibrated exits lose three and win two, and are 1.11 times as fast; llama.cpp is right as often. With calibrated thresholds 38 % of the tokens leave early, and with the bare threshold of 0.97 68 % do. That threshold loses eight tasks and wins eight, and is not faster: an exit that is read and not left costs time, too.',
  'infilling-05b-suffix-last':
    '**The same gaps, with the text after the gap last in the prompt**, as llama.cpp asks, by the same exits. The 0.5B is then often wrong ([figures](lab.md#prompts-with-a-gap)), at full depth and in llama.cpp, too. The next two studies have prompts of this kind.',
  'infilling-05b-typescript':
    '**The same gaps, by exits of TypeScript**, tuned and calibrated on it. In a version in which exits did not have to prove themselves first, they lost 9.6 points ([figures](lab.md#text-of-another-kind)).',
  'infilling-05b':
    '**A hundred of these gaps at bare thresholds**, by exits of TypeScript that are not calibrated: if an exit’s shortlist of 8,192 tokens lacks the right token, the exit is sure of a wrong one.',
  'infilling-15b-python':
    '**The first 150 of these gaps by the 1.5B, asked as in the editor** (with the text after the gap last it has 94.0 % right), with exits at 9, 19 and 26 that were tuned for twenty minutes on modules of Python’s own library, calibration included. Their calibration kept only hints, so only 2 % of the tokens of such short lines leave early: every answer is the one of full depth, and none is written sooner. Bare thresholds lose answers before they bring speed.',
  'humaneval-05b':
    '**Whole functions in Python**, by exits that were tuned for ten minutes on TypeScript and calibrated on it. Answers are longer than a line, so exits prove themselves in more of them. The few that are lost may be chance.',
  'humaneval-05b-python':
    '**The same functions, by exits of Python**, tuned for ten minutes on modules of Python’s own library. With calibrated thresholds they lose one task and win one. A threshold of 0.97 solves as many, 1.08 times as fast. Lower thresholds are faster and lose answers.',
  'humaneval-15b':
    '**Whole functions by the 1.5B**, with exits that were tuned for twenty minutes on modules of Python’s own library and calibrated within these minutes.',
  'humaneval-15b-thresholds':
    '**The same functions by the 1.5B at bare thresholds**, with exits at 9, 19 and 26 of the same twenty minutes, on a Xeon without AMX. At 0.99 five tasks are lost and seven won, 1.05 times as fast. Thresholds of 0.97 and 0.95 lose three and five points, and lower ones lose more answers for their speed. Calibrating kept no exit on that machine, so there is no calibrated row.',
  'gsm8k-05b':
    '**Word problems (GSM8K), as chats**, by exits that were tuned and calibrated on TypeScript. Such text is so strange to these exits that they are not used, and every answer is the one of full depth.',
  'gsm8k-05b-chats':
    '**The same word problems, by exits of chats**, tuned for ten minutes on the model’s own English chats about other things and calibrated on them. Calibrated exits lose ten tasks and win nine, at the speed of full depth (1.00), though few answers equal full depth’s word for word. A threshold of 0.99 loses 15 and wins 15, 1.05 times as fast. Lower thresholds lose 8, 13, 20 and 23 points, and are 1.11 to 1.24 times as fast. So arithmetic tolerates less than code: what keeps the score is hardly faster. Two hundred tasks are too few to show a difference of two points.',
};
export const judgedNames = Object.keys(judged);

/** Ways beside full depth that a picture needs to say more than the table. */
const fewestDrawn = 2;

/** Quality over speed of the first set of a kept study; null if the speed of too few ways was measured. */
export function overSpeedOf(kept: Kept, name: string): LinesFigure | null {
  const study = kept(name);
  const [set] = study?.kind === 'tasks' ? study.sets : [];
  const timed = set?.ways.filter(({ speed }) => speed !== null) ?? [];
  return set && timed.length >= fewestDrawn ? overSpeed(set, name) : null;
}

/** The pictures that `guide-pictures.ts` draws. */
const pictured = (kept: Kept): string =>
  judgedNames
    .filter((name) => overSpeedOf(kept, name) !== null)
    .map((name) => `![Scores over measured speed, each with its 95 % interval](images/${name}.svg)`)
    .join('\n\n');

export const questions: readonly Question[] = [
  {
    title: 'Why two stages?',
    paper:
      'exits are attached to a model that is already trained, and only they are tuned, which takes significantly less computation and text than training all parameters (abstract).',
    answer: (kept) =>
      paragraphs(
        'The model is frozen, so its own text never changes: `full` and `lossless` give the text that it gave before (`test/parity/lossless.test.ts`), exits can be taken off again, and states of the frozen model are computed once and read from the cache in later epochs. What each way costs and brings:',
        ofSweeps(kept, ['whole-5m'], wholeText, 'no run of both ways is kept.'),
      ),
  },
  {
    title: 'Which architecture?',
    paper:
      'an exit with more trainable parameters, or deeper in the model, attains a lower training loss; of embedding, norm, mlp and layer, mlp balances speed and quality best (Llama 2-Chat 13B; section 3.2).',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('architectures'), also(parametersText), 'no run is kept.', acrossText),
        'An exit with a layer of its own runs that layer for each token that it reads. So compare its agreement with the time that it takes. By default `tune` makes exits of the architecture `lens`.',
      ),
  },
  {
    title: 'Copy, random or fit?',
    paper: 'exits begin as copies of the model’s own modules, with which they converge sooner than from random values.',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('initialise'), compared, 'no run is kept.', acrossText),
        '_Fit_ is ours: the copy, corrected in closed form towards the final state before the first update.',
      ),
  },
  {
    title: 'Where should exits be?',
    paper:
      'deeper exits attain lower losses; each can be tuned and put in by itself, since none sends gradients to another or to the model.',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('positions'), positions, 'no run is kept.'),
        'An early exit pays on easy text. A late exit pays on most text, but saves less. Begin with three (`--exits auto`), and let `calibrate` leave out those that cost more than they save.',
      ),
  },
  {
    title: 'How many tokens?',
    paper:
      'tuning exits takes significantly less text than training all parameters, and a limited budget is enough to leave early effectively (abstract).',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('tokens'), also(tokensText), 'no run is kept.'),
        'So give exits the minutes that you have before you change anything else.',
      ),
  },
  {
    title: 'What should exits learn from, and with which head?',
    paper: 'exits learn the next token of the text, each with a head of its own over the whole vocabulary.',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('objective'), compared, 'no run of both objectives is kept.'),
        ofSweeps(kept, sizes('heads'), compared, 'no run of the three heads is kept.'),
        'By default we differ from the paper in two ways. Exits learn the final exit’s distribution (`--distillation 1`), since leaving early needs agreement with it. And their heads are shortlists of the most frequent tokens, which are faster to read. A shortlist has a price: an exit can predict another token only if it is common, occurs in the text or is another spelling of its guess. So let `--shortlist` cover your text.',
      ),
  },
  {
    title: 'Why only exits, and what does continued pre-training add?',
    paper:
      'the model stays frozen, unlike in the usual training of all parameters, which takes significantly more computation and text (abstract); it discusses what that limits.',
    answer: () =>
      paragraphs(
        'The figures are [above](#why-two-stages).',
        'Training everything also changes the model’s own text, so nothing can be promised about the text that it wrote before. Try it only after you have tuned exits, on a model of your own and with text that it does not know.',
      ),
  },
  {
    title: 'Do loss weights by token help?',
    paper:
      'a token’s loss can be weighted by the exit’s own confidence, so that an exit learns most from the tokens that would leave at it.',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('weights'), beside, 'no run is kept.'),
        'A likely reason: tokens of which an exit is sure already have small losses, so weighting by confidence takes attention from the tokens that it could still learn. A weight for an exit as a whole changes little, since exits share no parameters and each gradient is scaled by its own second moment.',
      ),
  },
  {
    title: 'What decides the trade of quality for speed?',
    paper: '1.2 to 1.6 times as fast at equal scores, on models of 7 to 70 billion parameters.',
    answer: (kept) =>
      paragraphs(
        ofTasks(
          kept,
          judgedNames,
          (study, name) => paragraphs(judged[name]!, judgedText(study)),
          'no judged tasks with exits are kept.',
        ),
        pictured(kept),
        'So tune and calibrate on text of the kind that will be written, and judge the result on tasks of your own.',
        'Three things decide: how deep the exit is, how sure it has to be, and what is written. On small models the head is much of a token’s time ([lab.md](lab.md)), so leaving early saves less than the number of layers left out suggests.',
      ),
  },
  {
    title: 'Pre-training text or instructions?',
    paper: 'any model that is pre-trained can have exits, also one that was fine-tuned (abstract).',
    answer: (kept) =>
      paragraphs(
        ofSweeps(kept, sizes('kinds'), byKind, 'no run is kept.'),
        '`book/*.md` is a book, _The Rust Programming Language_ (MIT or Apache 2.0); `instructions.jsonl` has the 427 instructions of Self-Instruct’s seeds and of its evaluation with the answers that people wrote (Apache 2.0); `answers.jsonl` has the same instructions with the model’s own answers. Chats are put in the model’s own template.',
        'Exits know the kind of text on which they were tuned. So tune on text of the kind that will be written: for a chat, chats. The model’s own answers do as well as people’s, and cost only the time to write them: `generate --chat --json`, or `serve`.',
      ),
  },
  {
    title: 'Which limits and risks?',
    paper: 'with the model frozen, only the exits’ own parameters can adapt, which limits them.',
    answer: () =>
      [
        '- **Drift.** A token that leaves early becomes part of the text, and the rest follows it. `calibrate` therefore judges text that was written in the mode in question, and promises a bound for new text.',
        '- **Leakage.** Exits learn from your text as any model does: someone who has them can find out parts of it. Share exits only with those with whom you would share the text.',
        '- **Alignment.** An early exit may begin to say what the whole model would refuse, since it computes less of that model. If that matters, use `lossless`, whose text is the whole model’s.',
        '- **Other text.** A promise holds for text of the kind on which it was made. In each text exits must first agree with the full model, and are checked from time to time.',
      ].join('\n'),
  },
  {
    title: 'When not to use exits?',
    paper: 'we know of no claim about this.',
    answer: (kept) =>
      paragraphs(
        ofTasks(kept, judgedNames, whereNot, 'no judged tasks with exits are kept.'),
        'If no loss is allowed, use `lossless`: it uses the same exits only as drafts, and drafts from the text need no exits. Do not expect much of log-likelihoods (a multiple choice never leaves early), of arithmetic, or of short answers, for which the prompt takes most of the time.',
      ),
  },
];

const compared = (study: SweepStudy): string => paragraphs(sweepTable(study), comparedText(study));
const also =
  (sentence: (study: SweepStudy) => string) =>
  (study: SweepStudy): string =>
    paragraphs(sweepTable(study), `${comparedText(study)} ${sentence(study)}`.trim());
const beside = (study: SweepStudy): string => paragraphs(sweepTable(study), besideFirstText(study));

/** From which depth on most tokens agree. */
export function positions(study: SweepStudy): string {
  const sentences = study.groups.map(({ exits, seeds }) => {
    const most = exits.find(({ agreement }) => agreement.mean >= 0.5);
    const last = exits.at(-1)!;
    const until = most
      ? `most tokens agree from layer ${layerOf(most.exit)} on, ${Math.round((100 * layerOf(most.exit)) / study.layers)} % of the depth`
      : 'no exit agrees on most tokens';
    return `In ${study.model} ${until}; the deepest exit that was tried, after layer ${layerOf(last.exit)} of ${study.layers}, agrees on ${agreementText(last, seeds)}.`;
  });
  return paragraphs(sweepTable(study), [...sentences, riseText(study)].join(' ').trim());
}

const layerOf = (exit: string): number => Number(exit.split(':')[0]);
const agreementText = ({ agreement }: SweptGroup['exits'][number], seeds: number): string =>
  `${spreadText(inPercent(agreement), 1, seeds)} %`;

/** Exits that were tuned on texts of different kinds, each on all of them. */
export function byKind(study: SweepStudy): string {
  // `data ["book/*.md"]`: a list of one glob.
  const groups = study.groups.map((group) => ({ ...group, name: group.name.replace(/^data \["?|"?\]$/g, '`') }));
  const texts = groups[0]?.on?.map(({ text }) => text) ?? [];
  const sentences = texts.map((text, at) => {
    const there = groups.map((group) => ({ ...group, exits: group.on![at]!.exits }));
    return comparedText({ ...study, groups: there }).replace('Here', `On \`${text}\`,`);
  });
  return paragraphs(elsewhereTable({ ...study, groups }), sentences.join(' '));
}

/** Exits beside the whole model, for the same number of tokens. */
export function wholeText(study: SweepStudy): string {
  const [alone, whole] = [
    study.groups.find(({ name }) => !name.includes('continuePretraining') || name.includes('continuePretraining null')),
    study.groups.find(({ name }) => name.includes('continuePretraining') && !name.includes('continuePretraining null')),
  ];
  const table = sweepTable(study, { final: true });
  if (!alone || !whole) return table;
  const change = whole.final.mean - alone.final.mean;
  return paragraphs(
    table,
    `If the whole model is trained, its own loss on held-out text ${change < 0 ? 'falls' : 'does not fall'}: ${spreadText(alone.final, 3, alone.seeds)} before, ${spreadText(whole.final, 3, whole.seeds)} after. Runs of the whole model began with exits that had already been tuned for as many updates. So compare them with runs that tuned only exits, on more tokens ([How many tokens?](#how-many-tokens)).`,
  );
}

/** Ways of using exits that are slower than full depth, or worse by more than the margin. */
function whereNot({ sets, margin }: TasksStudy, name: string): string {
  const [, title] = /^\*\*(.*?)\*\*/.exec(judged[name]!)!;
  const most = plural(margin, 'point');
  const sentences = sets.map(({ ways }) => {
    const own = ways.filter(({ way }) => way !== 'llama.cpp');
    const slow = own.filter(({ speed }) => speed && speed.high < 1).map(({ way }) => way);
    const isTimed = own.some(({ speed }) => speed !== null);
    const worse = own.filter(({ difference }) => difference?.verdict === 'worse').map(({ way }) => way);
    return `${title}: ${slow.length > 0 ? `slower than full depth: ${slow.join(', ')}` : isTimed ? 'no way is clearly slower than full depth' : 'speed was not measured'}; ${worse.length > 0 ? `worse by more than ${most}: ${worse.join(', ')}` : `none is clearly worse by more than ${most}`}.`;
  });
  return sentences.join(' ');
}
