/** What a remedy of the doctor asks for. Pure. */

/** What `doctor --install` takes of a remedy that says so; null if a person has to do it. */
export const installable = (remedy: string | null): string | null =>
  /\bdoctor --install ([\w-]+)/.exec(remedy ?? '')?.[1] ?? null;
