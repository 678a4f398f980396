/** The scores of an exit as files and other processes have them. */
import type { ExitScore, ReliabilityBin } from './events.ts';
import { count, figure, list, record, text, type Shape } from './shapes.ts';

const bin: Shape<ReliabilityBin> = record({ tokens: count, confidence: figure, agreement: figure });

/** JSON has no infinite loss: it is read as none. */
export const exitScore: Shape<ExitScore> = record(
  { exit: text, layer: count, loss: figure, perplexity: figure, accuracy: figure, agreement: figure },
  { reliability: list(bin) },
);
