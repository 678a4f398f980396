/** Which languages a list of filters lets in: ids, * for all, ! before one that is out. Pure. */
export function isLanguageOn(filters: readonly string[], language: string): boolean {
  if (filters.includes(`!${language}`)) return false;
  const wanted = filters.filter((filter) => !filter.startsWith('!'));
  return wanted.length === 0 || wanted.includes('*') || wanted.includes(language);
}
