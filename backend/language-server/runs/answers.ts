/** Runs for an editor: they are available once the server is initialised; requests are answered once the recorded runs are read. */
import { ErrorCodes, ResponseError } from 'vscode-languageserver/node';
import { describeError } from '../../../protocol/errors.ts';
import * as protocol from '../../../protocol/server.ts';
import type { Engine } from '../../worker/engine.ts';
import type { Answering } from '../models.ts';
import type { StatusKeeper } from '../status.ts';
import { createRuns, type Runs } from './runs.ts';
import { runStore } from './store.ts';

export interface RunAnswers {
  /** `folder`: in which runs are recorded; null: none are. */
  open(folder: string | null): void;
  /** Reads the recorded runs; with `take`, resumes those whose server has ended. */
  load(take: boolean): void;
  dispose(): Promise<void>;
}

export function answerRuns(
  { answer, notify, warn }: Answering,
  engine: Engine,
  status: Pick<StatusKeeper, 'runChanged' | 'runReported'>,
): RunAnswers {
  let runs: Runs | null = null;
  let loaded: Promise<void> | undefined;
  const known = async (): Promise<Runs> => {
    if (!runs) throw new ResponseError(ErrorCodes.ServerNotInitialized, 'The server is not initialised.');
    await loaded;
    return runs;
  };

  answer(protocol.startRun, async ({ title, options, folder }) => (await known()).start(title, options, folder));
  answer(protocol.stopRun, async ({ id }) => (await known()).stop(id));
  answer(protocol.pauseRun, async ({ id }) => (await known()).pause(id));
  answer(protocol.resumeRun, async ({ id }) => (await known()).resume(id));
  answer(protocol.listRuns, async () => (await known()).list());
  answer(protocol.readRun, async ({ id, from }) => (await known()).read(id, from));

  return {
    open(folder) {
      runs = createRuns({
        engine,
        store: folder === null ? null : runStore(folder),
        reported(event) {
          status.runReported(event);
          notify(protocol.runReported, event);
        },
        changed(run) {
          status.runChanged(run);
          notify(protocol.runChanged, run);
        },
        warn,
      });
    },
    load(take) {
      loaded = runs?.load(take).catch((error: unknown) => warn(`Runs cannot be read: ${describeError(error)}`));
    },
    dispose: async () => runs?.dispose(),
  };
}
