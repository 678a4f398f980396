/**
 * Large pages of memory for a process that runs models: every token reads all weights, and in pages of 4 KB the processor has to look up as
 * many addresses. glibc asks Linux for large pages if the environment says so when a process starts, and only then.
 */
const variable = 'GLIBC_TUNABLES';
const tunable = 'glibc.malloc.hugetlb';

type Environment = Readonly<Record<string, string | undefined>>;

/** What to add to an environment; nothing if the user has set it, or on another system. */
export function largePages(environment: Environment, platform: string): Record<string, string> {
  const given = environment[variable];
  if (platform !== 'linux' || given?.includes(tunable)) return {};
  return { [variable]: [...(given ? [given] : []), `${tunable}=1`].join(':') };
}
