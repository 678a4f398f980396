/** A report in the theme of the editor, which a webview's media queries do not tell. Knows no `vscode`. */

const media = '@media(prefers-color-scheme:dark)';

/** `isDark`: whether what the page says of dark screens holds. */
export const inTheme = (page: string, isDark: boolean): string =>
  page
    .replaceAll(media, isDark ? '@media all' : '@media not all')
    .replace(':root{color-scheme:light dark}', `:root{color-scheme:${isDark ? 'dark' : 'light'}}`);
