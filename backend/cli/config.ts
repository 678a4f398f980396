/** `--config FILE.json`: the options of one command under their names, as docs/schemas/ describes them. */
import { readFileSync } from 'node:fs';
import { userError } from '../../protocol/errors.ts';
import { configOrigin, flagOrigin, type Origin } from '../../protocol/options/options.ts';

/** Options in the file, unchecked; a `$schema` key is let through. Throws a UserError that names the file. */
export function readConfig(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').replace(/^\uFEFF/, '');
  } catch (error) {
    throw userError('bad-config', `${file} cannot be read.`, 'Give --config a JSON file.', error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw userError('bad-config', `${file} is not JSON: ${(error as Error).message}.`, undefined, error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw userError('bad-config', `${file} must hold one JSON object of options, such as {"learningRate": 0.0001}.`);
  }
  const options: Record<string, unknown> = { ...value };
  delete options['$schema'];
  return options;
}

/** Names an option as the user gave it: in the file, or as a flag. */
export function mixedOrigin(file: string, config: Readonly<Record<string, unknown>>, flags: object): Origin {
  const fromFile = configOrigin(file);
  const name: Origin['name'] = (option, command) =>
    Object.hasOwn(config, option) && !Object.hasOwn(flags, option)
      ? fromFile.name(option, command)
      : flagOrigin.name(option, command);
  return { code: 'bad-argument', name };
}
