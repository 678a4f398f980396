/** Texts of the webview in the display language: looked up by their English in what the page has. */
import type { View } from './columns.ts';

const texts = JSON.parse(globalThis.document?.body.dataset['texts'] ?? '{}') as Readonly<Record<string, string>>;

/** `{0}`, `{1}` … are replaced by the values. */
export const t = (text: string, ...values: readonly (string | number)[]): string =>
  (texts[text] ?? text).replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ''));

/** What the values of a view are. */
export const valueText = (view: View): string =>
  view === 'gap' ? t('Gap (nats per token)') : t('Loss (nats per token)');
