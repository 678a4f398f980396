/** What a recipe has opened and must close again. */
export type Close = () => void | Promise<void>;

/** Closes what was opened last first. All are closed, also if one of them fails; then its error is thrown. */
export async function closeAll(closing: Close[]): Promise<void> {
  const last = closing.pop();
  if (last === undefined) return;
  try {
    await last();
  } finally {
    await closeAll(closing);
  }
}
