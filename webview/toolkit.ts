/**
 * The controls, and the only module that imports @vscode/webview-ui-toolkit. The toolkit is archived; a replacement needs only these few
 * functions.
 */
import {
  provideVSCodeDesignSystem,
  vsCodeButton,
  vsCodeCheckbox,
  vsCodeDropdown,
  vsCodeOption,
  vsCodeProgressRing,
} from '@vscode/webview-ui-toolkit';
import { element, fill } from './dom.ts';

export function registerControls(): void {
  provideVSCodeDesignSystem().register(
    vsCodeButton(),
    vsCodeCheckbox(),
    vsCodeDropdown(),
    vsCodeOption(),
    vsCodeProgressRing(),
  );
}

export type ButtonKind = 'primary' | 'secondary' | 'icon';

/** `icon` buttons show `content` (a drawing) and are named by `label`. */
export function button(label: string, kind: ButtonKind, act: () => void, content: Node | null = null): HTMLElement {
  const made = fill(document.createElement('vscode-button'), { appearance: kind, 'aria-label': label, title: label }, [
    content ?? label,
  ]);
  made.addEventListener('click', act);
  return made;
}

export function checkbox(label: Node | string, checked: boolean, act: (checked: boolean) => void): HTMLElement {
  const made = fill(document.createElement('vscode-checkbox'), { checked }, [label]) as HTMLElement & {
    checked: boolean;
  };
  made.addEventListener('change', () => act(made.checked));
  return made;
}

export interface Choice {
  readonly value: string;
  readonly label: string;
}

export function dropdown(
  label: string,
  choices: readonly Choice[],
  value: string,
  act: (value: string) => void,
): HTMLElement & { value: string } {
  const options = choices.map((choice) =>
    fill(document.createElement('vscode-option'), { value: choice.value, selected: choice.value === value }, [
      choice.label,
    ]),
  );
  const made = fill(document.createElement('vscode-dropdown'), { 'aria-label': label }, options) as HTMLElement & {
    value: string;
  };
  made.addEventListener('change', () => act(made.value));
  return made;
}

/** The toolkit has no slider: the browser's own, with the theme's colours. */
export function slider(
  label: string,
  value: number,
  range: { min: number; max: number; step: number },
  act: (value: number) => void,
): HTMLInputElement {
  const made = element('input', { type: 'range', 'aria-label': label, title: label, ...range, value });
  made.addEventListener('input', () => act(Number(made.value)));
  return made;
}

export const spinner = (): HTMLElement => document.createElement('vscode-progress-ring');
