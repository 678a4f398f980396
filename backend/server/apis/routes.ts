/** What is answered at which path. Knows requests as bodies, not as sockets. */
import { packageRoot, versionIn } from '../../recipes/installation.ts';
import { chatCompletions } from './chat.ts';
import { completions } from './completions.ts';
import { embeddings } from './embeddings.ts';
import type { Endpoint } from './endpoint.ts';
import { anthropicFailure, ollamaFailure, openAiFailure, refusal, type FailureShape } from '../http/failures.ts';
import type { Body } from './fields.ts';
import { applyTemplate, completion, detokenize, infill, props, slots, tokenize } from './llama.ts';
import { countTokens, messages } from './messages.ts';
import * as ollama from './ollama.ts';
import { checkModel } from './requests.ts';
import { responses } from './responses.ts';
import type { Served } from '../served.ts';
import type { Caller, Writer } from '../writer.ts';

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
  | { readonly kind: 'answers'; readonly answer: (served: Served, writer: Writer, body: Body) => object }
  | { readonly kind: 'text'; readonly text: (writer: Writer) => string }
  | { readonly kind: 'constant'; readonly value: () => object }
  | { readonly kind: 'health' }
);

const writes = (endpoint: (body: Body, served: Served) => Endpoint): Route => ({
  method: 'POST',
  kind: 'writes',
  endpoint,
});

const modelOf = ({ name, model }: Served): object => ({
  id: name,
  object: 'model',
  created: 0,
  owned_by: 'early-exit',
  meta: { n_vocab: model.vocabulary, n_ctx: model.contextLength, n_ctx_train: model.trainedContextLength },
});

const answers = (answer: (served: Served, writer: Writer) => object): Route => ({
  method: 'GET',
  kind: 'answers',
  answer,
});

const models = answers((served) => ({ object: 'list', data: [modelOf(served)] }));

/** One model, by its name at the end of the path. */
const oneModel = (name: string): Route =>
  answers((served) => {
    checkModel({ model: name }, served);
    return modelOf(served);
  });

const asks = (ask: (body: Body, writer: Writer, caller: Caller) => Promise<Iterable<string>>): Route => ({
  method: 'POST',
  kind: 'asks',
  ask,
});

const constant = (value: () => object): Route => ({ method: 'GET', isOpen: true, kind: 'constant', value });

/** Of Ollama, whose clients refuse a server that is older than what they need: the version whose requests are answered here. */
const ollamaVersion = '0.8.0';

const health: Route = { method: 'GET', isOpen: true, kind: 'health' };

const routes: Readonly<Record<string, Route>> = {
  // Requested by programs that only ask whether a server is there.
  '/': constant(() => ({ status: 'Early Exit is running' })),
  '/health': health,
  '/v1/health': health,
  '/v1/models': models,
  '/models': models,
  '/v1/completions': writes(completions),
  '/v1/embeddings': writes(embeddings),
  '/embeddings': writes(embeddings),
  '/v1/responses': writes(responses),
  '/responses': writes(responses),
  '/v1/messages': writes(messages),
  '/v1/messages/count_tokens': asks(countTokens),
  '/api/chat': writes(ollama.chat),
  '/api/generate': writes(ollama.generate),
  '/api/embed': writes(ollama.embed),
  '/api/embeddings': writes(ollama.embed),
  '/api/tags': answers(ollama.tags),
  '/api/ps': answers(ollama.running),
  '/api/show': { method: 'POST', kind: 'answers', answer: (served, _writer, body) => ollama.show(served, body) },
  '/api/version': constant(() => ({ version: ollamaVersion })),
  '/v1/chat/completions': writes(chatCompletions),
  '/chat/completions': writes(chatCompletions),
  '/completion': writes(completion),
  '/completions': writes(completion),
  '/infill': writes(infill),
  '/tokenize': asks(tokenize),
  '/detokenize': asks(detokenize),
  '/apply-template': asks(applyTemplate),
  '/props': answers(props),
  '/slots': answers(slots),
  '/version': constant(() => ({ version: versionIn(packageRoot()) })),
  '/metrics': { method: 'GET', kind: 'text', text: (writer) => writer.counts.text(writer.writing().length) },
};

/** @throws Refusal for a path that does not exist, or has another method. */
export function routeOf(url: string, method: string): Route {
  const path = url.split('?')[0]!;
  const route = Object.hasOwn(routes, path) ? routes[path] : namedRoute(path);
  if (route === undefined) throw refusal(404, 'not_found', `There is no ${path.slice(0, 100)} here.`);
  // What answers GET also answers HEAD: Node leaves the body out.
  if (route.method !== (method === 'HEAD' ? 'GET' : method))
    throw refusal(405, 'method_not_allowed', `${path} takes ${route.method} requests.`);
  return route;
}

const modelPath = /^(?:\/v1)?\/models\/(.+)$/;

/** A path that ends in a name. */
function namedRoute(path: string): Route | undefined {
  const name = modelPath.exec(path)?.[1];
  return name === undefined ? undefined : oneModel(decoded(name));
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** How a path's clients read what went wrong. */
export const failureShapeOf = (url: string): FailureShape =>
  url.startsWith('/v1/messages') ? anthropicFailure : url.startsWith('/api/') ? ollamaFailure : openAiFailure;
