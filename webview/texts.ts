/** Texts of the webview in the display language: looked up by their English in what the host hands over. */

let texts: Readonly<Record<string, string>> = {};

export function setTexts(translated: Readonly<Record<string, string>>): void {
  texts = translated;
}

/** `{0}`, `{1}` … stand for the values. */
export const t = (text: string, ...values: readonly (string | number)[]): string =>
  (texts[text] ?? text).replace(/\{(\d)\}/g, (_, i: string) => String(values[Number(i)] ?? ''));
