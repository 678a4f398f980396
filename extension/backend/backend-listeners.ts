/** Listeners to the backend's messages: for the life of the extension, over all of its clients. */
import * as vscode from 'vscode';
import type { Client } from './client.ts';

export interface BackendListeners {
  /** Returns how to stop listening, and whether the method is new: if it is, the current client must be attached to it. */
  add(
    method: string,
    handler: (params: unknown) => void,
  ): { readonly listening: vscode.Disposable; readonly isNew: boolean };
  /** Passes a client's messages to all listeners, or to those of one method. */
  attach(client: Client, method?: string): void;
  /** Stops passing messages of the client, which has ended. */
  detach(): void;
}

export function createListeners(): BackendListeners {
  const handlers = new Map<string, Set<(params: unknown) => void>>();
  let attached: vscode.Disposable[] = [];
  return {
    add(method, handler) {
      const known = handlers.get(method);
      const listeners = known ?? new Set();
      listeners.add(handler);
      handlers.set(method, listeners);
      return { listening: new vscode.Disposable(() => listeners.delete(handler)), isNew: known === undefined };
    },
    attach(client, only) {
      for (const method of only === undefined ? handlers.keys() : [only]) {
        const handle = (params: unknown): void => handlers.get(method)?.forEach((handler) => handler(params));
        attached.push(client.listen(method, handle));
      }
    },
    detach() {
      for (const disposable of attached) disposable.dispose();
      attached = [];
    },
  };
}
