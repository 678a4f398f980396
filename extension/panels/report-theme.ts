/** A report in the theme of the editor, which media queries in a webview do not see. Knows no `vscode`. */

const media = '@media(prefers-color-scheme:dark)';

/** `isDark`: whether the page's rules for dark screens apply. */
export const inTheme = (page: string, isDark: boolean): string =>
  page
    .replaceAll(media, isDark ? '@media all' : '@media not all')
    .replace(':root{color-scheme:light dark}', `:root{color-scheme:${isDark ? 'dark' : 'light'}}`);
