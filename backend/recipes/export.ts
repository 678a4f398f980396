/** Writes an exit as a plain, shallower model that other programs load as they are. */
import { basename } from 'node:path';
import { userError } from '../../protocol/errors.ts';
import type { ExportEvent } from '../../protocol/events.ts';
import type { ExportOptions } from '../../protocol/options/options.ts';
import { exitId, type ExitSpec } from '../exits/spec.ts';
import { plainCard } from '../export/card.ts';
import { formatOf } from '../export/families.ts';
import { plainModel } from '../export/plain-model.ts';
import { bytesBesideBlocks } from '../export/tensors.ts';
import { writePlain } from '../export/write.ts';
import { openModel } from '../model/open.ts';
import { readExits } from './opening/opened.ts';

/** @throws UserError for an exit that is no plain model, and whatever cannot be read or written. */
export async function* exportExit(options: ExportOptions, signal: AbortSignal): AsyncGenerator<ExportEvent, void> {
  const { exits: directory, quantize } = options;
  if (directory === null) throw userError('bad-argument', 'There are no exits.', 'Give some with --exits DIR.');
  yield { type: 'phase', phase: 'load', detail: options.model };
  const model = openModel(options.model);
  try {
    const { base: known, specs, parameters, scores, tokens, tuning } = await readExits(directory, { model }, signal);
    const exit = exitOf(specs, options.exit);
    const format = options.format === 'auto' ? formatOf(model) : options.format;
    const plain = await plainModel(model, exit, parameters, format);
    if (plain.borrowsRows)
      yield {
        type: 'warning',
        message: `Tokens outside the shortlist of ${exitId(exit)} get the model's own rows of the head, because a plain model cannot say what they share in the exit.`,
      };
    const base = basename(model.name).replace(/\.gguf$/i, '');
    const name = `${base}-exit-${exitId(exit).replace(':', '-')}`;
    const out = options.out ?? name;
    yield { type: 'phase', phase: 'save', detail: out };
    const quantised = quantize === 'none' ? null : quantize === 'q8_0' ? 'Q8_0' : 'Q4_0';
    const data = Array.isArray(tuning['data']) ? tuning['data'].map(String) : [];
    const folder = basename(out);
    const facts = { model, base, name, folder, format, plain, scores, purpose: options.as, quantised, data, tokens };
    const card = plainCard(facts);
    const { files } = writePlain(out, { model, plain, format, quantised, name, card, base: known.sha256 });
    const own = Math.round(bytesBesideBlocks(model.stored, plain) / 1e6);
    if (format === 'gguf' && quantised === null && own > 0)
      yield {
        type: 'warning',
        message: `The exit's own matrices are ${own} MB in 32 bits: --quantize q8_0 makes them a quarter of that.`,
      };
    yield { type: 'saved', path: out, files: [...files] };
  } finally {
    model.close();
  }
}

function exitOf(exits: readonly ExitSpec[], name: string | null): ExitSpec {
  const ids = exits.map(exitId).join(', ');
  const found = exits.filter((exit) => exitId(exit) === name || String(exit.layer) === name);
  if (found.length === 1) return found[0]!;
  if (name === null) throw userError('bad-argument', 'No exit is named.', `Give one with --exit: ${ids}.`);
  if (found.length > 1)
    throw userError('bad-argument', `There are ${found.length} exits at layer ${name}.`, `Name one of ${ids}.`);
  throw userError('bad-argument', `There is no exit ${JSON.stringify(name)}.`, `The exits are ${ids}.`);
}
