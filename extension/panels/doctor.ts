/** The doctor's findings in a view of its own, with buttons that install what is missing. The view has nothing to save. */
import * as vscode from 'vscode';
import * as protocol from '../../protocol/server.ts';
import type { Diagnosis } from '../../protocol/server.ts';
import type { Backend } from '../backend/backend.ts';
import { commandId } from '../commands.ts';
import { withJobProgress } from '../runs/exits-jobs.ts';
import { createViewPanel } from './view-panel.ts';

export interface Doctor {
  show(): Promise<void>;
}

const JOB = 'doctor';

export function createDoctor(context: vscode.ExtensionContext, backend: Backend): Doctor {
  let diagnosis: Diagnosis | null = null;
  const postFound = (): void => {
    if (diagnosis) view.post({ type: 'doctor', diagnosis });
  };

  const look = async (install: string | null): Promise<void> => {
    const title =
      install === null
        ? vscode.l10n.t('Early Exit examines this machine …')
        : vscode.l10n.t('Early Exit installs {0}', install);
    const found = await withJobProgress({ backend }, JOB, title, (token) =>
      backend.send(protocol.doctor, { job: JOB, install }, token),
    );
    diagnosis = found ?? diagnosis;
    postFound();
  };

  const spec = { name: 'doctor', title: vscode.l10n.t('Early Exit Doctor'), column: vscode.ViewColumn.Active } as const;
  const view = createViewPanel(context, backend, spec, {
    ready: postFound,
    look: () => look(null),
    install: ({ part }) => look(part),
    copy: () => vscode.env.clipboard.writeText(diagnosis ? textOf(diagnosis) : ''),
    restart: async () => {
      await vscode.commands.executeCommand(commandId('restart'));
      await look(null);
    },
    logs: () => vscode.commands.executeCommand(commandId('showLogs')),
  });

  return {
    async show() {
      await look(null);
      if (diagnosis !== null) view.show(); // else cancelled
    },
  };
}

/** For an issue or a mail. */
const textOf = ({ findings, conclusion }: Diagnosis): string =>
  [...findings.map(({ name, state, detail }) => `${name}: ${state}, ${detail}`), conclusion, ''].join('\n');
