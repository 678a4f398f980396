/**
 * The advice at the end of a command: one sentence about what was measured, and the next command lines. Pure: events in, words out; knows no
 * terminal.
 */
import { busyText } from '../../../protocol/brought.ts';
import type { CalibratedEvent, ExitScore, SweepRow } from '../../../protocol/events.ts';
import { autoPlacesText } from '../../../protocol/options/notations.ts';
import { shownPromise } from '../../../protocol/options/promise.ts';
import type { Mode } from '../../../protocol/trace.ts';
import { figures, percent } from './table.ts';

/** How commands are written here: `npx early-exit`, and the flags that name what was worked with. */
export interface Naming {
  readonly command: string;
  /** ` --model m.gguf`, or nothing for the model that ships. */
  readonly model: string;
  /** ` --exits my.exits`, and ` --data 'src/**'` or nothing for the default. */
  readonly exits: string;
  readonly data: string;
  /** ` --prompt 'const result ='`, or ` --chat --prompt …`: as the text begins that the exits were tuned on. */
  readonly prompt: string;
  /** The directory of the exits, as a value. */
  readonly directory: string;
}

export interface Advice {
  readonly reason: string;
  readonly next: readonly (readonly [line: string, effect: string])[];
}

type Line = Advice['next'][number];

const write = (n: Naming, effect: string, mode = ''): Line => [
  `${n.command} generate${n.model}${n.exits}${mode}${n.prompt}`,
  effect,
];
const calibrate = (
  n: Naming,
  effect = 'find out whether leaving early is faster here, and with which thresholds it is safe',
): Line => [`${n.command} calibrate${n.model}${n.exits}${n.data}`, effect];
const calibrateElsewhere = (n: Naming): Line => [
  `${n.command} calibrate${n.model}${n.exits} --data 'OTHER/**' --documents all`,
  'calibrate on other text of this kind: name it instead of OTHER',
];
/** A run knows its model and its own text, which need not be the text of an evaluation or a calibration. */
const longer = (n: Naming): Line => [
  `${n.command} tune --out ${n.directory} --resume --minutes 30`,
  'go on tuning, so that exits agree more often',
];

/** Advice after a tuning run whose exits are not calibrated; `lacksText`: because its text is too little for it. */
export function afterTuning(
  before: readonly ExitScore[],
  after: readonly ExitScore[],
  n: Naming,
  lacksText: boolean,
): Advice {
  const exits = after.filter(({ exit }) => exit !== 'final');
  const best = most(exits, ({ agreement }) => agreement);
  const gained = exits.filter(({ exit, agreement }) => {
    const old = before.find((score) => score.exit === exit);
    return old === undefined || agreement > old.agreement;
  });
  if (gained.length === 0)
    return { reason: 'No exit agrees with the model more often than before it was tuned.', next: [longer(n)] };
  const reason = `${best.exit} agrees with the model most often, on ${percent(best.agreement, 0)} of tokens.`;
  if (best.agreement < fewAgree)
    return { reason: `${reason} That is too few for leaving early to pay.`, next: [longer(n)] };
  return {
    reason: `${reason} What that brings depends on what layers and heads cost here.`,
    next: [
      lacksText ? calibrateElsewhere(n) : calibrate(n),
      write(n, 'meanwhile: the text of full depth, sooner if it repeats earlier text'),
    ],
  };
}

/** If even the best exit agrees less often than this, hardly a token is sure enough to leave. */
const fewAgree = 0.6;

/** A threshold is proposed if at least this share of all tokens is the full model's own choice. */
const mostAgree = 0.99;

/** Advice after an evaluation: what exits learned, and what leaving by thresholds could save; `sweep` is in falling order of thresholds. */
export function afterEvaluation(scores: readonly ExitScore[], sweep: readonly SweepRow[], n: Naming): Advice {
  const best = most(
    scores.filter(({ exit }) => exit !== 'final'),
    ({ agreement }) => agreement,
  );
  const learned = `${best.exit} agrees with the full model most often, on ${percent(best.agreement, 0)} of tokens.`;
  const kept = sweep.filter(({ agreement, layerShare }) => agreement >= mostAgree && layerShare < 1);
  if (kept.length === 0) {
    const reason = `${learned} No threshold leaves early and keeps ${percent(mostAgree, 0)} of tokens: longer tuning would help.`;
    return { reason, next: [longer(n)] };
  }
  const least = most(kept, ({ layerShare }) => -layerShare);
  const reason = `${learned} At ${least.threshold.toFixed(2)}, ${percent(least.layerShare, 0)} of layers are run and ${percent(least.agreement)} of tokens are the full model's; what that brings in time, a calibration measures.`;
  return { reason, next: [calibrate(n)] };
}

/** Advice after a calibration: the mode that auto uses, and, if exits do not pay, why not and what would help. */
export function afterCalibration(found: CalibratedEvent, n: Naming): Advice {
  const { fast, lossless } = found.speedups;
  if (found.fastest === 'fast') {
    const reason = `Leaving early is ${fast >= lossless ? 'faster' : 'as fast as drafts'} here: ${times(fast)} full depth; drafts from earlier text alone (lossless) give ${times(lossless)}.`;
    return { reason, next: [write(n, 'leaves as calibrated')] };
  }
  const effect =
    found.fastest === 'lossless'
      ? `lossless: the text of full depth, ${times(lossless)} as fast`
      : 'the text of full depth; drafts from earlier text bring nothing here either';
  if (found.brought !== null) {
    const reason = `Leaving early is ${times(found.brought.speedup.value)} as fast as full depth by itself; ${lossless > fast ? 'drafts, which change no text, are faster' : 'with drafts it is not clearly faster'}, so the default is ${found.fastest}.`;
    return { reason, next: [write(n, effect), write(n, 'leaves as calibrated', ' --mode fast')] };
  }
  if (found.isLate === true) {
    const reason = 'The time was too short to judge text that leaves early, so tokens do not leave yet.';
    return { reason, next: [calibrate(n), write(n, effect)] };
  }
  const { reason, cure } = whyNot(found);
  return { reason, next: [write(n, effect), ...cureFor(cure, n)] };
}

type Cure = 'longer' | 'deeper' | 'smaller head' | 'larger model' | 'quiet';

/** An exit that agrees less often has something to learn. */
const often = 0.9;

/** Why leaving early does not pay: too few tokens agree or are sure enough, or the exit is too deep or costs too much to read. */
function whyNot({ exits, layers, fullDepth, speedups, tried, broken, promise }: CalibratedEvent): {
  reason: string;
  cure: Cure;
} {
  const best = most(exits, ({ agreement }) => agreement);
  const share = percent(best.agreement, 0);
  if (best.agreement < fewAgree && best.layer < 0.6 * layers) {
    const reason = `Leaving early does not pay here: ${best.exit}, after layer ${best.layer} of ${layers}, says what the model says on only ${share} of tokens; deeper exits agree more often.`;
    return { reason, cure: 'deeper' };
  }
  if (best.agreement < fewAgree) {
    const reason = `Leaving early does not pay here: no exit says what the model says on more than ${share} of tokens (${best.exit}), so hardly any leave.`;
    return { reason, cure: 'longer' };
  }
  const cost = `${best.milliseconds.toFixed(2)} ms`;
  const saves = `${best.saves.toFixed(2)} of ${fullDepth.toFixed(2)} ms`;
  if (best.milliseconds >= best.agreement * best.saves) {
    const reason = `Leaving early does not pay here: reading ${best.exit} takes ${cost}, and leaving there saves ${saves} a token; its head weighs too much beside so few layers.`;
    return { reason, cure: 'smaller head' };
  }
  if (broken) {
    const { value, error } = promise.measure === 'regret' ? broken.regret : broken.agreement;
    const shown =
      promise.measure === 'regret'
        ? `cost ${value.toFixed(4)} ± ${error.toFixed(4)} nats a token`
        : `had ${percent(value)} ± ${percent(error)} of the full model's tokens`;
    const reason = `Leaving early is not used here: text of the most cautious thresholds ${shown}, and ${shownPromise(promise)} could not be proven.`;
    return { reason, cure: 'longer' };
  }
  if (tried) {
    const busy = busyText(tried) !== null;
    const meanwhile = busy ? ` while other programs kept ${tried.busy.toFixed(1)} cores busy` : '';
    const drafts = `drafts from earlier text alone (lossless) give ${times(speedups.lossless)}`;
    const reason = `Leaving early keeps the promise, but does not pay here: by itself it is ${times(tried.speedup.value)} as fast as full depth${meanwhile}; ${drafts}.`;
    return { reason, cure: busy ? 'quiet' : best.agreement < often ? 'longer' : 'larger model' };
  }
  if (best.agreement < often) {
    const reason = `Leaving early does not pay here: ${best.exit} agrees on ${share} of tokens, but is seldom sure enough of them for the promise.`;
    return { reason, cure: 'longer' };
  }
  const reason = `Leaving early does not pay here: ${best.exit} agrees on ${share} of tokens, but leaving there saves only ${saves}.`;
  return { reason, cure: 'larger model' };
}

function cureFor(cure: Cure, n: Naming): Line[] {
  const anew = `${n.command} tune${n.model}${n.data}`;
  switch (cure) {
    case 'longer':
      return [longer(n)];
    case 'deeper':
      return [[`${anew} --exits auto --out deeper.exits`, `exits at ${autoPlacesText} of the depth`]];
    case 'smaller head':
      return [[`${anew} --shortlist 2048 --out smaller.exits`, 'heads over fewer tokens, which are read sooner']];
    case 'larger model':
      return [[`${n.command} start --model LARGER.gguf${n.data}`, 'a larger model has more layers to save']];
    case 'quiet':
      return [calibrate(n, 'again, once other programs leave the machine alone')];
  }
}

/** What a first run measured, in tokens a second. */
export interface FirstSpeeds {
  /** The mode that is the default. */
  readonly mode: Mode;
  /** Medians over this number of rounds. */
  readonly auto: number;
  readonly full: number;
  readonly rounds: number;
  /** Processor, threads and load. */
  readonly machine: string;
}

/** What a first run ends with. */
interface First {
  readonly speeds: FirstSpeeds;
  /** On held-out text; `layers`: of the model. */
  readonly scores: readonly ExitScore[];
  readonly layers: number;
  readonly isCalibrated: boolean;
}

/** After a first run: one sentence about its measurements, and one next command, which is `next` if that is given. */
export function afterStart({ speeds, scores, layers, isCalibrated }: First, n: Naming, next: Line | null): Advice {
  const { mode, auto, full, rounds, machine } = speeds;
  const how = {
    fast: 'leaves early as calibrated',
    lossless: "writes the full model's own text",
    full: 'is full depth',
  };
  const reason = `The default mode ${how[mode]}: ${figures(auto)} tokens a second, ${times(auto / full)} full depth (medians of ${rounds} texts each, in turn; ${machine})${mode === 'fast' ? '' : couldLeave(scores, layers)}.`;
  return { reason, next: [next ?? (isCalibrated ? write(n, 'your own prompt') : calibrate(n))] };
}

/** How sure an exit is of a token that could leave there without a calibration. */
const sure = 0.9;

/** Where most layers could be spared at that threshold, as the end of a sentence; nothing if no exit is ever so sure. */
function couldLeave(scores: readonly ExitScore[], layers: number): string {
  const places = scores.flatMap(({ exit, layer, agreement, reliability = [] }) => {
    const agreed = (bins: typeof reliability): number => bins.reduce((sum, bin) => sum + bin.tokens * bin.agreement, 0);
    const leaving = reliability.filter(({ confidence }) => confidence >= sure);
    const tokens = leaving.reduce((sum, bin) => sum + bin.tokens, 0);
    if (tokens === 0 || agreement === 0) return [];
    // Tokens that an exit defers are in no bin, and never agree.
    const share = tokens / (agreed(reliability) / agreement);
    return [{ exit, layer, share, agreement: agreed(leaving) / tokens, saved: share * (layers - layer) }];
  });
  if (places.length === 0) return '';
  const { exit, layer, share, agreement } = most(places, ({ saved }) => saved);
  return `; at a threshold of ${sure}, ${percent(share, 0)} of tokens could leave after layer ${layer} of ${layers}; ${exit} agrees with the model on ${percent(agreement, 1)} of them`;
}

const times = (ratio: number): string => `${ratio.toFixed(2)} ×`;

const most = <T>(all: readonly T[], of: (one: T) => number): T => all.reduce((a, b) => (of(b) > of(a) ? b : a));
