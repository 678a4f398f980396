/** Texts of the webview in the display language: looked up by their English in what the host hands over. */
import type { View } from './columns.ts';

let texts: Readonly<Record<string, string>> = {};

export function setTexts(translated: Readonly<Record<string, string>>): void {
  texts = translated;
}

/** `{0}`, `{1}` … are replaced by the values. */
export const t = (text: string, ...values: readonly (string | number)[]): string =>
  (texts[text] ?? text).replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ''));

/** What the values of a view are. */
export const valueText = (view: View): string =>
  view === 'gap' ? t('Gap (nats per token)') : t('Loss (nats per token)');
