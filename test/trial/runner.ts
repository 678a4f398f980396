/** Goes through the attempts of one kind: lanes side by side, each attempt in a folder of its own, kept where it failed. */
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { failed, randomOf, type Kind, type Lane, type Verdict } from './trial.ts';
import type { Program } from './program.ts';

export interface Settings {
  readonly program: Program;
  /** Where everything is written. */
  readonly cache: string;
  readonly seed: number;
  /** Milliseconds since the epoch after which no attempt is begun. */
  readonly deadline: number;
  /** Numbers of the attempts. */
  readonly indices: readonly number[];
  readonly onFailure: (failure: Failure) => void;
}

export interface Failure {
  readonly index: number;
  readonly why: string;
  /** Where its files are. */
  readonly kept: string;
}

export interface Tried {
  readonly held: number;
  readonly failures: readonly Failure[];
  /** Why some attempts cannot be tried here, and how many each reason kept away. */
  readonly skipped: Readonly<Record<string, number>>;
  readonly seconds: number;
}

export async function tryKind(kind: Kind, settings: Settings): Promise<Tried> {
  const { program, cache, seed, deadline, indices } = settings;
  const began = performance.now();
  const material = path.join(cache, 'material');
  mkdirSync(material, { recursive: true });
  const failures: Failure[] = [];
  const skipped: Record<string, number> = {};
  let heldCount = 0;

  const record = (index: number, folder: string, verdict: Verdict): void => {
    if (verdict.verdict === 'held') heldCount++;
    if (verdict.verdict === 'skipped') skipped[verdict.why] = (skipped[verdict.why] ?? 0) + 1;
    if (verdict.verdict === 'failed') {
      const kept = path.join(cache, 'failed', `${kind.name}-${seed}-${index}`);
      rmSync(kept, { recursive: true, force: true });
      cpSync(folder, kept, { recursive: true, errorOnExist: false });
      writeFileSync(path.join(kept, 'why.txt'), `${verdict.why}\n`);
      const failure = { index, why: verdict.why, kept };
      failures.push(failure);
      settings.onFailure(failure);
    }
    rmSync(folder, { recursive: true, force: true });
  };

  const left = indices.values();
  const goThrough = async (lane: Lane): Promise<void> => {
    for (const index of left) {
      if (Date.now() > deadline) break;
      const folder = path.join(cache, 'work', `${kind.name}-${index}`);
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      const attempt = { index, folder, random: randomOf(seed, kind.name, index) };
      record(
        index,
        folder,
        await lane.attempt(attempt).catch((error: unknown) => failed(`the trial broke: ${String(error)}`)),
      );
    }
  };

  const lanes: Lane[] = [];
  try {
    // One after the other: the first makes the material that all share.
    while (lanes.length < Math.min(kind.lanes, indices.length))
      lanes.push(await kind.open({ program, folder: material }));
    await Promise.all(lanes.map(goThrough));
  } finally {
    await Promise.all(lanes.map((lane) => lane.close()));
  }
  return { held: heldCount, failures, skipped, seconds: (performance.now() - began) / 1000 };
}
