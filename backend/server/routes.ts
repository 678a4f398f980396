/** What is answered at which path. Knows requests as bodies, not as sockets. */
import { chatCompletions } from './chat.ts';
import { completions } from './completions.ts';
import type { Endpoint } from './endpoint.ts';
import { refusal } from './failures.ts';
import type { Body } from './fields.ts';
import { applyTemplate, completion, detokenize, infill, props, tokenize } from './llama.ts';
import type { Served } from './requests.ts';
import type { Caller, Writer } from './writer.ts';

export type Route = {
  readonly method: 'GET' | 'POST';
  /** Answered without a key, and while the model loads. */
  readonly isOpen?: boolean;
} & (
  | { readonly kind: 'writes'; readonly endpoint: (body: Body, served: Served) => Endpoint }
  | {
      readonly kind: 'asks';
      /** Its JSON, in parts. */
      readonly ask: (body: Body, writer: Writer, caller: Caller) => Promise<Iterable<string>>;
    }
  | { readonly kind: 'answers'; readonly answer: (body: Body, served: Served) => object }
  | { readonly kind: 'text'; readonly text: (writer: Writer) => string }
  | { readonly kind: 'health' }
);

const writes = (endpoint: (body: Body, served: Served) => Endpoint): Route => ({
  method: 'POST',
  kind: 'writes',
  endpoint,
});

const models = (_body: Body, { name, model }: Served): object => ({
  object: 'list',
  data: [
    {
      id: name,
      object: 'model',
      created: 0,
      owned_by: 'early-exit',
      meta: { n_vocab: model.vocabulary, n_ctx: model.contextLength, n_ctx_train: model.trainedContextLength },
    },
  ],
});

const health: Route = { method: 'GET', isOpen: true, kind: 'health' };

const routes: Readonly<Record<string, Route>> = {
  '/health': health,
  '/v1/health': health,
  '/v1/models': { method: 'GET', kind: 'answers', answer: models },
  '/models': { method: 'GET', kind: 'answers', answer: models },
  '/v1/completions': writes(completions),
  '/v1/chat/completions': writes(chatCompletions),
  '/chat/completions': writes(chatCompletions),
  '/completion': writes(completion),
  '/completions': writes(completion),
  '/infill': writes(infill),
  '/tokenize': { method: 'POST', kind: 'asks', ask: tokenize },
  '/detokenize': { method: 'POST', kind: 'asks', ask: detokenize },
  '/apply-template': { method: 'POST', kind: 'asks', ask: applyTemplate },
  '/props': { method: 'GET', kind: 'answers', answer: (_body, served) => props(served) },
  '/metrics': { method: 'GET', kind: 'text', text: ({ counts }) => counts.text() },
};

/** @throws Refusal for a path that is not there, or is asked by another method. */
export function routeOf(url: string, method: string): Route {
  const path = url.split('?')[0]!;
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (route === undefined) throw refusal(404, 'not_found', `There is no ${path.slice(0, 100)} here.`);
  if (route.method !== method) throw refusal(405, 'method_not_allowed', `${path} is asked by ${route.method}.`);
  return route;
}
