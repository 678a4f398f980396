/**
 * How often exits predict the full model's token, on a short text that the model itself writes: enough to tell trained exits from untrained
 * ones.
 */
import { UserError } from '../../../protocol/errors.ts';
import type { ExportEvent } from '../../../protocol/events.ts';
import { parseOptions } from '../../../protocol/options/options.ts';
import { checkVocabulary, loadTokenizer } from '../../data/tokenizer/tokenizer.ts';
import { observeExits } from '../../decoding/leaving/observe.ts';
import { placeOn, placeStagedModel } from '../../devices/fallback.ts';
import { chooseDevice } from '../../devices/devices.ts';
import { needsOf } from '../../devices/fit.ts';
import type { Model } from '../../model/open.ts';
import type { ExitSet } from '../../runtime/open.ts';
import { runtimeOptions } from '../opening/backbone.ts';
import { counting } from '../reporting.ts';

/** Beginnings that models of code and of prose go on with. */
const prompts = [
  'export function parse(text: string) {\n',
  'def main():\n    ',
  'The history of the city begins in',
  'Dear',
];
const newTokens = 48;

/** An untrained exit agrees on less than this, by chance and on frequent tokens. */
const fewAgree = 0.3;

/**
 * Reports the share of tokens on which each exit agrees with the full model, and warns if it is that of an untrained exit. Without a
 * tokenizer it reports that nothing was measured.
 */
export async function* measureAgreement(
  model: Model,
  exits: ExitSet,
  signal: AbortSignal,
): AsyncGenerator<ExportEvent, void> {
  try {
    const tokenizer = loadTokenizer(model.path);
    checkVocabulary(tokenizer, model.name, model.spec.vocabulary);
    const options = parseOptions('generate', { prompt: [], model: model.path });
    const device = await chooseDevice(options, needsOf(model, false, exits), signal);
    const staged = await placeStagedModel(
      placeOn(device, () => {}),
      model,
      { ...exits, spellings: tokenizer.spellings, readsCommon: true },
      runtimeOptions(options),
    );
    try {
      yield { type: 'phase', phase: 'measure', detail: "how often exits predict the full model's token" };
      const encoded = prompts.map((text) => tokenizer.encode(text)).filter((ids) => ids.length > 0);
      const observing = observeExits(staged, encoded, newTokens, tokenizer.eosIds);
      const written = (yield* counting('measure', 'passes', observing, signal)).flat();
      const shares = staged.exits.slice(0, -1).map(({ id }, k) => ({
        id,
        share:
          written.filter(({ token, observations }) => observations[k]!.token === token).length /
          Math.max(1, written.length),
      }));
      yield* findings(model.name, shares, written.length);
    } finally {
      await staged.dispose();
    }
  } catch (error) {
    if (signal.aborted || !(error instanceof UserError)) throw error;
    yield {
      type: 'note',
      message: `How often these exits agree with the full model was not measured: ${error.message}`,
    };
  }
}

function* findings(
  name: string,
  shares: readonly { readonly id: string; readonly share: number }[],
  tokens: number,
): Generator<ExportEvent, void> {
  const percent = (share: number): string => `${Math.round(100 * share)} %`;
  const all = shares.map(({ id, share }) => `${id} on ${percent(share)}`).join(', ');
  yield {
    type: 'note',
    message: `These exits predict the full model's token: ${all}, of ${tokens} tokens that it wrote.`,
  };
  const untrained = shares.filter(({ share }) => share < fewAgree);
  if (untrained.length === 0) return;
  const which = untrained.length === shares.length ? '' : ` at ${untrained.map(({ id }) => id).join(' and ')}`;
  yield {
    type: 'warning',
    message: `${name} was never trained to leave early${which}: its own head finds too little there. early-exit tune makes exits for it.`,
  };
}
