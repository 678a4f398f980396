/** What the server sends unasked. No work depends on it: nothing fails if the client has gone or answers with an error. */
export const tell = (send: () => unknown): void =>
  void new Promise((resolve) => resolve(send())).catch(() => undefined);
