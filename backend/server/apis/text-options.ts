/** How a request's texts are written: sampling, seed, stops, changes of logits, and how exits are used (`early_exit`). */
import { randomInt } from 'node:crypto';
import { userError } from '../../../protocol/errors.ts';
import { shownValue } from '../../../protocol/foreign.ts';
import { nearest } from '../../../protocol/nearest.ts';
import { changeOptions, type GenerateOptions, type Origin } from '../../../protocol/options/options.ts';
import type { LogitChanges } from '../../../protocol/serving.ts';
import {
  badField,
  flagField,
  isTexts,
  isZero,
  numberField,
  recordField,
  refuseFields,
  textsField,
  type Body,
} from './fields.ts';
import type { Served } from '../served.ts';

const snake = (option: string): string => option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const fieldOrigin: Origin = { code: 'bad-argument', name: snake };
/** Fields that other servers call otherwise. */
const synonyms: Readonly<Record<string, string>> = { repetitionPenalty: 'repeat_penalty' };
const sampling = ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty'] as const;
const exitRule = [
  'mode',
  'policy',
  'threshold',
  'patience',
  'disable',
  'drafts',
  'promptExit',
  'candidates',
  'tokenHealing',
] as const;

/** Fields that no endpoint supports, with the value that has no effect. */
const impossible = {
  mirostat: isZero,
  ignore_eos: (value: unknown) => value === false,
};

/** How a text is written: sampling, seed, stops, and how exits are used (`early_exit`). @throws UserError for what cannot be done. */
export function optionsOf(body: Body, { options, model }: Served): GenerateOptions {
  refuseFields(body, impossible);
  const exits = isFlag(body['early_exit']) ? undefined : recordField(body, 'early_exit');
  checkNames(exits ?? {});
  const given: Record<string, unknown> = {};
  for (const option of sampling) given[option] = body[snake(option)] ?? body[synonyms[option] ?? ''];
  // Clients of other servers write no limit as a count below 0, and the best token alone as a share of 0.
  if (typeof given['topK'] === 'number' && given['topK'] < 0) given['topK'] = 0;
  if (given['topP'] === 0) given['topP'] = Number.EPSILON;
  for (const option of exitRule) given[option] = exits?.[snake(option)];
  if (exits?.['exits'] !== undefined) given['disable'] = othersThan(exits['exits'], model.exits);
  // A request for the full model's text also needs its whole prompt computed in full.
  if (given['mode'] === 'full' || given['mode'] === 'lossless') given['promptExit'] ??= 'off';
  given['stop'] = stopsOf(body);
  numberField(body, 'temperature', 0, mostTemperature);
  const temperature = (given['temperature'] as number | null | undefined) ?? options.temperature;
  // Without a seed each sampled text is different.
  given['seed'] = seedOf(body) ?? (temperature > 0 ? randomInt(2 ** 31) : 0);
  return changeOptions('generate', options, given, fieldOrigin);
}

/** Stops of one request, and characters of each: every token of the text is compared with all of them. */
const mostStops = 64;
const longestStop = 1024;

function stopsOf(body: Body): string[] | undefined {
  const stops = textsField(body, 'stop')?.filter((stop) => stop !== '');
  if (stops !== undefined && (stops.length > mostStops || stops.some(({ length }) => length > longestStop)))
    throw userError('bad-argument', `stop may have ${mostStops} texts, of ${longestStop} characters each.`);
  return stops;
}

/** Biases of one request, and characters of a text whose tokens get one. */
const mostBiases = 1024;
const longestBiased = 256;

/** As OpenAI has it: above, text is noise. */
const mostTemperature = 2;

/** @throws UserError for penalties beyond those that OpenAI has, a bias of no token, and too many of them. */
export function changesOf(body: Body, { model }: Served): LogitChanges {
  return {
    presencePenalty: numberField(body, 'presence_penalty', -2, 2) ?? 0,
    frequencyPenalty: numberField(body, 'frequency_penalty', -2, 2) ?? 0,
    bias: biasOf(body['logit_bias'], model.vocabulary),
  };
}

/** `{"ID": BIAS}` as OpenAI has it, or llama.cpp's `[[ID or TEXT, BIAS or false], …]`; false forbids. */
function biasOf(given: unknown, vocabulary: number): LogitChanges['bias'] {
  if (given === undefined || given === null) return [];
  const expected = 'an object of biases by token id, or a list of pairs of a token and its bias';
  if (typeof given !== 'object') throw badField('logit_bias', expected, given);
  const isList = Array.isArray(given);
  const pairs: readonly unknown[] = isList ? (given as unknown[]) : Object.entries(given).map(ofEntry);
  if (pairs.length > mostBiases)
    throw userError('bad-argument', `logit_bias may have ${mostBiases} biases, not ${pairs.length}.`);
  return pairs.map((pair) => {
    const [token, bias]: readonly unknown[] = Array.isArray(pair) ? (pair as unknown[]) : [];
    const added = bias === false ? -Infinity : bias;
    const isToken = typeof token === 'string' ? isList && token.length <= longestBiased : isId(token, vocabulary);
    if (!isToken || typeof added !== 'number' || !(added <= 100) || (added < -100 && bias !== false))
      throw badField('logit_bias', `${expected}, from −100 to 100`, pair);
    return { token: token as number | string, added };
  });
}

const ofEntry = ([id, bias]: [string, unknown]): unknown[] => [/^\d+$/.test(id) ? Number(id) : id, bias];

const isId = (value: unknown, vocabulary: number): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < vocabulary;

/** Only this server has these fields, so an unknown one is a mistake, not a field of another server. */
function checkNames(exits: Body): void {
  const known = [...exitRule.map(snake), 'exits'];
  const unknown = Object.keys(exits).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const near = nearest(unknown, known);
  throw userError(
    'bad-argument',
    `early_exit has no field ${shownValue(unknown)}.`,
    near === null ? `Its fields are ${known.join(', ')}.` : `Did you mean ${near}?`,
  );
}

/** One below 0 is none, as llama.cpp has it, and so is the largest of 32 bits; a seed of more bits counts by its last 32. */
function seedOf({ seed }: Body): unknown {
  if (!Number.isSafeInteger(seed)) return seed;
  const given = seed as number;
  return given < 0 || given === 2 ** 32 - 1 ? undefined : given % 2 ** 32;
}

const isFlag = (value: unknown): boolean => typeof value === 'boolean';

/** Whether the answer contains where tokens left. */
export const wantsExits = (body: Body): boolean =>
  isFlag(body['early_exit']) ? flagField(body, 'early_exit')! : recordField(body, 'early_exit') !== undefined;

function othersThan(requested: unknown, exits: readonly string[]): string[] {
  if (!isTexts(requested))
    throw userError('bad-argument', 'early_exit.exits must be a list of exits, such as ["8:mlp"].');
  const unknown = requested.find((name) => !exits.some((exit) => isCalled(exit, name)));
  if (unknown !== undefined)
    throw userError(
      'bad-argument',
      `There is no exit ${JSON.stringify(unknown.slice(0, 100))}.`,
      exits.length === 0 ? 'Give the server some with --exits.' : `The exits are ${exits.join(', ')}.`,
    );
  return exits.filter((exit) => !requested.some((name) => isCalled(exit, name)));
}

const isCalled = (exit: string, name: string): boolean => exit === name || exit.split(':')[0] === name;
