/** How many tokens two lists begin with in common. */
export function commonLength(ids: readonly number[], others: readonly number[]): number {
  let length = 0;
  while (length < ids.length && length < others.length && ids[length] === others[length]) length++;
  return length;
}
