/** What every request may say of how its texts are written. Parsed here, trusted inside. */
import { randomInt } from 'node:crypto';
import { userError } from '../../protocol/errors.ts';
import { shownValue } from '../../protocol/foreign.ts';
import { nearest } from '../../protocol/nearest.ts';
import { changeOptions, type GenerateOptions, type Origin } from '../../protocol/options.ts';
import { mostCandidates } from '../../protocol/options-decoding.ts';
import type { ServedModel, ServedPrompt, WriteRequest } from '../../protocol/serving.ts';
import { refusal } from './failures.ts';
import {
  badField,
  countField,
  flagField,
  isEmpty,
  isIds,
  isRecord,
  isTexts,
  isZero,
  recordField,
  refuseFields,
  textField,
  textsField,
  type Body,
} from './fields.ts';

/** What a request is answered by. */
export interface Served {
  readonly model: ServedModel;
  /** How the model is called here. */
  readonly name: string;
  /** What a request does not say. */
  readonly options: GenerateOptions;
}

/** Texts or token ids: one prompt, or a list of them. */
export function promptsField({ prompt }: Body): ServedPrompt[] {
  const given: readonly unknown[] = Array.isArray(prompt) && typeof prompt[0] !== 'number' ? prompt : [prompt];
  const prompts = given.flatMap((each): ServedPrompt[] =>
    typeof each === 'string' ? [{ kind: 'text', text: each }] : isIds(each) ? [{ kind: 'ids', ids: each }] : [],
  );
  if (prompts.length > 0 && prompts.length === given.length) return prompts;
  throw badField('prompt', 'a text, token ids, or a list of either', prompt);
}

/** How many tokens are asked for; −1 is as many as there may be. */
export const tokensField = (body: Body, name: string, least: number): number | undefined =>
  body[name] === -1 ? Infinity : countField(body, name, least, 10_000_000);

/** How many of the most probable tokens are asked for beside each. Of more than are known, those that are known are told. */
export const alternativesField = (body: Body, name: string, most: number): number =>
  Math.min(countField(body, name, 0, most) ?? 0, mostCandidates);

/** Most texts of one request. */
export const mostTexts = 1024;

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
  'candidates',
  'tokenHealing',
] as const;

/** @throws Refusal where a request names another model. */
export function checkModel(body: Body, { name, model, options }: Served): void {
  const asked = textField(body, 'model');
  if (asked === undefined || [name, model.name, options.model].includes(asked)) return;
  throw refusal(404, 'model_not_found', `There is no model ${JSON.stringify(asked.slice(0, 100))} here, but ${name}.`);
}

/** What no endpoint can do, with what asks for nothing. */
const impossible = {
  presence_penalty: isZero,
  frequency_penalty: isZero,
  logit_bias: isEmpty,
  response_format: (value: unknown) => isRecord(value) && value['type'] === 'text',
  grammar: (value: unknown) => value === '',
  json_schema: () => false,
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
  for (const option of exitRule) given[option] = exits?.[snake(option)];
  if (exits?.['exits'] !== undefined) given['disable'] = othersThan(exits['exits'], model.exits);
  given['stop'] = textsField(body, 'stop')?.filter((stop) => stop !== '');
  const temperature = (given['temperature'] as number | null | undefined) ?? options.temperature;
  // Without a seed each text is another one, where anything is drawn at all.
  given['seed'] = seedOf(body) ?? (temperature > 0 ? randomInt(2 ** 31) : 0);
  return changeOptions('generate', options, given, fieldOrigin);
}

/** For who asks how probable tokens are: of the prompt as it is, and of the first token behind it. */
export const unhealed = (options: GenerateOptions): GenerateOptions => ({ ...options, tokenHealing: false });

/** For how long a text is written once it has a line (llama.cpp's `t_max_predict_ms`); 0: however long it takes. */
export const lineMillisecondsOf = (body: Body): number =>
  Math.max(0, countField(body, 't_max_predict_ms', -1, 1_000_000_000) ?? 0);

/** These fields are ours alone: one that is not known is a mistake, not another server's. */
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

/** One below 0 is none, as llama.cpp has it. */
const seedOf = ({ seed }: Body): unknown => (Number.isInteger(seed) && (seed as number) < 0 ? undefined : seed);

const isFlag = (value: unknown): boolean => typeof value === 'boolean';

/** Whether the client wants to see where tokens left. */
export const wantsExits = (body: Body): boolean =>
  isFlag(body['early_exit']) ? flagField(body, 'early_exit')! : recordField(body, 'early_exit') !== undefined;

function othersThan(asked: unknown, exits: readonly string[]): string[] {
  if (!isTexts(asked)) throw userError('bad-argument', 'early_exit.exits must be a list of exits, such as ["8:mlp"].');
  const unknown = asked.find((name) => !exits.some((exit) => isCalled(exit, name)));
  if (unknown !== undefined)
    throw userError(
      'bad-argument',
      `There is no exit ${JSON.stringify(unknown.slice(0, 100))}.`,
      exits.length === 0 ? 'Give the server some with --exits.' : `The exits are ${exits.join(', ')}.`,
    );
  return exits.filter((exit) => !asked.some((name) => isCalled(exit, name)));
}

const isCalled = (exit: string, name: string): boolean => exit === name || exit.split(':')[0] === name;

/** @throws UserError where a request asks for more texts than one may. */
export function checkTexts({ prompts, count }: Pick<WriteRequest, 'prompts' | 'count'>): void {
  if (prompts.length === 0) throw userError('bad-argument', 'There is no prompt.');
  if (prompts.length * count > mostTexts)
    throw userError('bad-argument', `A request may ask for ${mostTexts} texts, not ${prompts.length * count}.`);
}
