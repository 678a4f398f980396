/** What each client has open, by one measure, and whether it may have more. Knows no requests. */

export interface Room {
  /**
   * Reserves an amount, and returns the function that releases it; null if the client would have more than `most`. A client that has
   * nothing reserved always gets it: a large request is written, too, after all before it.
   */
  take(client: string, amount: number, most: number): (() => void) | null;
}

export function newRoom(): Room {
  const taken = new Map<string, number>();
  return {
    take(client, amount, most) {
      const before = taken.get(client);
      if (before !== undefined && before + amount > most) return null;
      taken.set(client, (before ?? 0) + amount);
      return () => {
        const left = taken.get(client)! - amount;
        if (left > 0) taken.set(client, left);
        else taken.delete(client);
      };
    },
  };
}
