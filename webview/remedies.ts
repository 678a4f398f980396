/** Parses the doctor's remedies. Pure. */

/** The argument of `doctor --install` in a remedy; null if only a person can apply it. */
export const installable = (remedy: string | null): string | null =>
  /\bdoctor --install ([\w-]+)/.exec(remedy ?? '')?.[1] ?? null;
