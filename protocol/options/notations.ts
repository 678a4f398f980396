/** Options with a notation of their own: exits and their layers, weights of their losses, thresholds. */
import { userError } from '../errors.ts';
import { nearest } from '../nearest.ts';

/** What an exit computes; see docs/architecture.md. */
export const architectures = {
  lens: 'the head reads a linear translation of the normed hidden state (Tuned Lens)',
  norm: 'a norm of its own, then the head',
  mlp: "an MLP beside the exit layer's own, a norm, then the head",
  layer: 'one more decoder layer with a cache of its own, a norm, then the head',
  embedding: 'the head reads the hidden state as it is',
} as const;
export type Architecture = keyof typeof architectures;

/** The architecture of exits that are named without one. */
export const usualArchitecture: Architecture = 'lens';

export interface ExitPlace {
  /** Exit layer, counted from 1. */
  readonly layer: number;
  readonly architecture: Architecture;
}

/** `auto`: exits at some shares of the model's depth, which only the model knows. */
export type ExitsRequest =
  | { readonly kind: 'auto'; readonly architecture: Architecture }
  | { readonly kind: 'placed'; readonly exits: readonly ExitPlace[] };

/** Weights of the exits' losses, in the order in which the stream reaches the exits; a single one applies to all. */
export type ExitWeights =
  | { readonly kind: 'static'; readonly weights: readonly number[] }
  | {
      readonly kind: 'ramp';
      readonly from: readonly number[];
      readonly to: readonly number[];
      /** Over the whole run. */
      readonly shape: 'linear' | 'cosine';
    };

export interface Thresholds {
  /** A calibration's thresholds take precedence, if the checkpoint has one. */
  readonly calibrated: boolean;
  /** Of every exit that has none of its own; null: the policy's usual threshold. */
  readonly all: number | null;
  /** By exit id (`8:mlp`) or by layer (`8`). */
  readonly exits: Readonly<Record<string, number>>;
}

export const exitsNotation = 'exits such as 8:mlp,16:lens, layers such as 8,16, or auto (auto:mlp)';
export const weightsNotation = 'a weight such as 1, one for each exit such as 0.5,1,1, or a ramp such as 0.1..1:cosine';
export const thresholdsNotation = 'auto, a number such as 0.8, or numbers by exit such as 0.8,16=0.9,24:mlp=0.7';

/** `8:mlp,16,24:lens`; an exit without an architecture is a `lens`. Null if the text cannot be read. */
export function parseExits(text: string): ExitsRequest | null {
  const words = text.split(',').map((word) => word.trim());
  const auto = /^auto(?::(\w+))?$/.exec(words[0] ?? '');
  if (auto && words.length === 1) {
    const architecture = readArchitecture(auto[1]);
    return architecture && { kind: 'auto', architecture };
  }
  const exits: ExitPlace[] = [];
  for (const word of words) {
    const match = /^(\d+)(?::(\w+))?$/.exec(word);
    const architecture = readArchitecture(match?.[2]);
    const layer = Number(match?.[1]);
    if (!match || !architecture || layer < 1) return null;
    if (exits.some((other) => other.layer === layer && other.architecture === architecture)) return null;
    exits.push({ layer, architecture });
  }
  return { kind: 'placed', exits: exits.sort((a, b) => a.layer - b.layer) };
}

/** `4:lense` → `4:lens`; null if no architecture is near. */
export function guessExits(text: string): string | null {
  const words = text.split(',').map((word) => {
    const [, place, name] = /^\s*(\d+|auto):(\w+)\s*$/.exec(word) ?? [];
    const near = name === undefined ? null : nearest(name, Object.keys(architectures));
    return near === null ? word.trim() : `${place}:${near}`;
  });
  const guess = words.join(',');
  return guess !== text && parseExits(guess) !== null ? guess : null;
}

/**
 * Where `auto` puts exits, as shares of the depth: at the shallow ones tokens leave with what the text says, at the last one with what its head
 * says (docs/decoding.md#hints).
 */
const autoPlaces = [
  [1, 3],
  [2, 3],
  [11, 12],
] as const;
/** `1/3, 2/3 and 11/12`. */
export const autoPlacesText = autoPlaces
  .map(([part, whole]) => `${part}/${whole}`)
  .join(', ')
  .replace(/, (?=[^,]*$)/, ' and ');

/** The exits of a model with this number of layers. Throws if one is beyond the last layer. */
export function placeExits(request: ExitsRequest, layers: number): readonly ExitPlace[] {
  if (request.kind === 'auto') {
    const { architecture } = request;
    const places = autoPlaces.map(([part, whole]) => Math.max(1, Math.round((part / whole) * layers)));
    return [...new Set(places)].map((layer) => ({ layer, architecture }));
  }
  for (const { layer, architecture } of request.exits) {
    if (layer > layers) {
      const sentence = `The exit ${layer}:${architecture} lies beyond the last layer: the model has ${layers} layers.`;
      throw userError('bad-argument', sentence, `Choose exit layers from 1 to ${layers}.`);
    }
  }
  return request.exits;
}

/** `1`, `0.5,1,1`, `0.1..1`, `0.1,0.2..1,1:cosine`. Null if the text cannot be read. */
export function parseWeights(text: string): ExitWeights | null {
  const ramp = /^(.+)\.\.([^:]+)(?::(linear|cosine))?$/.exec(text.trim());
  if (!ramp) {
    const weights = readNumbers(text);
    return weights && { kind: 'static', weights };
  }
  const from = readNumbers(ramp[1] ?? '');
  const to = readNumbers(ramp[2] ?? '');
  if (!from || !to) return null;
  return { kind: 'ramp', from, to, shape: ramp[3] === 'cosine' ? 'cosine' : 'linear' };
}

/** `auto`, `0.8`, `16=0.9,24:mlp=0.7`, `0.8,16=0.9`. The bare number is that of exits that are not named. */
export function parseThresholds(text: string): Thresholds | null {
  if (text.trim() === 'auto') return { calibrated: true, all: null, exits: {} };
  let all: number | null = null;
  const exits: Record<string, number> = {};
  for (const word of text.split(',')) {
    const [name, value, ...rest] = word.split('=').map((part) => part.trim());
    const number = readNumber(value ?? name ?? '');
    if (number === null || rest.length > 0) return null;
    if (value === undefined) {
      if (all !== null) return null;
      all = number;
    } else {
      if (!name || !/^\d+(:\w+)?$/.test(name) || name in exits) return null;
      exits[name] = number;
    }
  }
  return { calibrated: false, all, exits };
}

/** The threshold of an exit by its id: its own, its layer's, that of all, or the `usual` one. */
export const thresholdOf = (thresholds: Thresholds, exit: string, usual: number): number =>
  thresholds.exits[exit] ?? thresholds.exits[exit.split(':')[0] ?? ''] ?? thresholds.all ?? usual;

function readArchitecture(text: string | undefined): Architecture | null {
  if (text === undefined) return usualArchitecture;
  return Object.hasOwn(architectures, text) ? (text as Architecture) : null;
}

const readNumber = (text: string): number | null =>
  /^(?:\d+(?:\.\d+)?|\.\d+)(?:e-?\d+)?$/i.test(text) ? Number(text) : null;

function readNumbers(text: string): number[] | null {
  const numbers = text.split(',').map((word) => readNumber(word.trim()));
  return numbers.every((value): value is number => value !== null) ? numbers : null;
}
