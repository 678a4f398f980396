/** The messages between a server and the thread that decodes for it, during one job. Plain records; knows no HTTP. */
import type { ErrorRecord } from './errors.ts';
import type { PhaseEvent, ProgressEvent, WarningEvent } from './events.ts';
import type { GenerateOptions } from './options/options.ts';
import type { StopReason, TokenRecord } from './trace.ts';

/** One turn of a conversation, as a chat template takes it; further keys are the template's business. */
export interface ServedMessage {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** What a chat template is filled with. */
export interface ServedChat {
  readonly messages: readonly ServedMessage[];
  readonly tools: readonly unknown[] | null;
  /** Further variables of the template, by name. */
  readonly values: Readonly<Record<string, unknown>>;
  /** What the model's turn begins with: the answer goes on from there. */
  readonly begun: string;
}

/** The text around a gap, and text of other files. */
export interface ServedGap {
  readonly prefix: string;
  readonly suffix: string;
  readonly chunks: readonly { readonly file: string; readonly text: string }[];
}

export type ServedPrompt =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'ids'; readonly ids: readonly number[] }
  | { readonly kind: 'chat'; readonly chat: ServedChat }
  | { readonly kind: 'gap'; readonly gap: ServedGap };

/** Changes to logits before a token is sampled, besides those of a generation's options. */
export interface LogitChanges {
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  /** What is added for a token, or for all tokens of a text. */
  readonly bias: readonly { readonly token: number | string; readonly added: number }[];
}

/** What a text must be. */
export type ServedGrammar =
  | { readonly kind: 'gbnf'; readonly text: string }
  /** Any JSON object. */
  | { readonly kind: 'object' }
  /** What fits a JSON schema, between two texts. */
  | { readonly kind: 'schema'; readonly schema: unknown; readonly around: readonly [before: string, behind: string] };

/** Texts that a client requests: `count` for each prompt, in the order of the prompts. */
export interface WriteRequest {
  readonly prompts: readonly ServedPrompt[];
  readonly count: number;
  /** How they are written; the prompts among these options are ignored. */
  readonly options: GenerateOptions;
  readonly changes: LogitChanges;
  /** Null: anything. */
  readonly grammar: ServedGrammar | null;
  /** A vector of the prompt is requested, at the cut of an exit or behind the last layer. */
  readonly embedding: { readonly exit: string | null; readonly pooling: 'mean' | 'last' } | null;
  /** Whether a prompt that is too long ends where there is no more room, instead of being refused. */
  readonly cutsPrompts: boolean;
  /** 0 if the prompt is only scored. */
  readonly maxTokens: number;
  /** After this time from its first token a text ends at the end of its line; 0: no limit. */
  readonly lineMilliseconds: number;
  /** Number of most probable tokens that are reported with each written token. */
  readonly alternatives: number;
  /** Whether probabilities are part of the answer, so that none may come from a screened head. */
  readonly isMeasured: boolean;
  /** The prompt's tokens are part of the answer. */
  readonly echo: boolean;
  /** How many of the most probable tokens are scored at each place. */
  readonly scores: number | null;
}

/** The sender of a request: clients take turns, and those of one key may share a cache. */
export interface Sender {
  /** Clients take turns. */
  readonly client: string;
  /** Which of the server's keys was given; empty if the server has none. */
  readonly key: string;
}

export type Question =
  | {
      readonly kind: 'tokenize';
      readonly text: string;
      readonly addSpecial: boolean;
      readonly parseSpecial: boolean;
      readonly withPieces: boolean;
    }
  | { readonly kind: 'detokenize'; readonly ids: readonly number[] }
  | { readonly kind: 'template'; readonly chat: ServedChat };

/** Answers by kind. */
export interface Answers {
  readonly tokenize: {
    readonly ids: Int32Array;
    /** The text of each id; null if it was not requested. */
    readonly pieces: ReadonlyMap<number, string> | null;
  };
  readonly detokenize: string;
  readonly template: string;
}

/** Host → thread. An id belongs to one request until it ends; of a cancelled one no further events come. */
export type ServeMessage =
  | { readonly type: 'write'; readonly id: number; readonly sender: Sender; readonly request: WriteRequest }
  | { readonly type: 'ask'; readonly id: number; readonly sender: Sender; readonly question: Question }
  | { readonly type: 'cancel'; readonly id: number };

/** Of a prompt's token, by all before it, in nats; the first has none. */
export interface PromptToken {
  readonly id: number;
  /** Text of the token alone; it may add less to the text while a character is incomplete. */
  readonly token: string;
  readonly text: string;
  readonly logProbability: number | null;
  readonly alternatives: readonly { readonly id: number; readonly text: string; readonly logProbability: number }[];
}

/** The model that is served. */
export interface ServedModel {
  readonly name: string;
  readonly layers: number;
  readonly vocabulary: number;
  /** Most tokens of a text here, and of the model itself. */
  readonly contextLength: number;
  readonly trainedContextLength: number;
  /** Texts at a time. */
  readonly parallel: number;
  /** In the order of the stream, without the final exit. */
  readonly exits: readonly string[];
  readonly device: string;
  readonly chatTemplate: string | null;
  readonly bosText: string;
  readonly eosText: string;
  /** Whether it fills in the middle. */
  readonly fills: boolean;
}

/** Thread → host. `text`: which of a request's texts. */
export type ServeEvent =
  | PhaseEvent
  | ProgressEvent
  | WarningEvent
  | { readonly type: 'serving'; readonly model: ServedModel }
  /** The request is sound: its texts wait for their turn, or are written. */
  | { readonly type: 'accepted'; readonly id: number }
  | {
      readonly type: 'read';
      readonly id: number;
      readonly text: number;
      readonly tokens: number;
      /** Number of its tokens that were remembered. */
      readonly remembered: number;
      /** That it took, from its turn on. */
      readonly milliseconds: number;
      /** Empty unless echo or scores were requested. */
      readonly prompt: readonly PromptToken[];
      /** `[hidden]`, of length 1; null if none was requested. */
      readonly embedding: Float32Array | null;
    }
  | { readonly type: 'written'; readonly id: number; readonly text: number; readonly tokens: readonly TokenRecord[] }
  | {
      readonly type: 'stopped';
      readonly id: number;
      readonly text: number;
      readonly reason: StopReason;
      /** Which of the requested stop strings ended it; null if none did. */
      readonly stop: string | null;
    }
  | { readonly type: 'answered'; readonly id: number; readonly answer: Answers[Question['kind']] }
  | { readonly type: 'refused'; readonly id: number; readonly error: ErrorRecord };

export type AcceptedEvent = Extract<ServeEvent, { readonly type: 'accepted' }>;

/** Events of the texts of one request. */
export type TextEvent = Extract<ServeEvent, { readonly type: 'read' | 'written' | 'stopped' }>;

/** One request that was answered, as a log has it. */
export interface RequestRecord {
  readonly type: 'request';
  /** ISO 8601, when it ended. */
  readonly time: string;
  readonly client: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** From its headers to its end. */
  readonly milliseconds: number;
  /** Null if no text was requested. */
  readonly written: {
    readonly texts: number;
    readonly promptTokens: number;
    readonly rememberedTokens: number;
    readonly writtenTokens: number;
    readonly firstMilliseconds: number | null;
    readonly tokensPerSecond: number | null;
    readonly meanLayer: number | null;
    /** Written tokens by the exit that they left at. */
    readonly exits: Readonly<Record<string, number>>;
    readonly drafts: number;
    readonly rightDrafts: number;
    readonly reasons: readonly StopReason[];
  } | null;
  /** The prompt, if the log may contain it. */
  readonly prompts?: readonly ServedPrompt[];
}
