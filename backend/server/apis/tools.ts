/**
 * Functions that a model may call: how its template formats them, the grammar of a required call, and calls found in a text. Knows no shape
 * of an answer.
 */
import { userError } from '../../../protocol/errors.ts';
import { isRecord } from '../../../protocol/foreign.ts';
import type { ServedGrammar } from '../../../protocol/serving.ts';
import type { Head } from './endpoint.ts';
import { badField, type Body } from './fields.ts';

export interface Tool {
  readonly name: string;
  /** A JSON schema. */
  readonly parameters: unknown;
}

/** Whether and what must be called. */
export type ToolChoice =
  { readonly kind: 'auto' | 'none' | 'required' } | { readonly kind: 'one'; readonly name: string };

export interface ToolCall {
  readonly name: string;
  /** Of a JSON object. */
  readonly arguments: string;
}

/** Id of a call, by which the client's next request refers to it. */
export const callId = ({ id }: Head, text: number, call: number): string =>
  `call_${id.replaceAll('-', '').slice(0, 20)}${text}_${call}`;

/** Functions of OpenAI's `tools`; others are the template's business alone. */
export function toolsOf(tools: readonly unknown[]): Tool[] {
  return tools.flatMap((tool, i) => {
    if (!isRecord(tool)) throw badField(`tools[${i}]`, 'an object', tool);
    const { function: described } = tool;
    if (!isRecord(described)) return [];
    const { name, parameters = {} } = described;
    if (typeof name !== 'string' || name === '') throw badField(`tools[${i}].function.name`, 'a text', name);
    return [{ name, parameters }];
  });
}

/** `"auto"`, `"none"`, `"required"`, `{"type": "function", "function": {"name"}}`. */
export function toolChoiceOf({ tool_choice: choice }: Body, tools: readonly Tool[]): ToolChoice {
  if (choice === undefined || choice === null || choice === 'auto') return { kind: 'auto' };
  if (choice === 'none') return { kind: 'none' };
  if (choice !== 'required' && !isRecord(choice))
    throw badField('tool_choice', 'auto, none, required or a function', choice);
  if (tools.length === 0) throw userError('bad-argument', 'tool_choice needs tools.', 'Give some, or leave it out.');
  if (choice === 'required') return { kind: 'required' };
  const { function: described } = choice;
  const name = isRecord(described) ? described['name'] : choice['name'];
  if (!tools.some((tool) => tool.name === name)) throw badField('tool_choice', 'the name of one of the tools', name);
  return { kind: 'one', name: name as string };
}

/** The format of a call in a template: the text around it, and the name of its arguments. */
interface Syntax {
  readonly around: readonly [before: string, behind: string];
  readonly arguments: 'arguments' | 'parameters';
}

const syntaxOf = (template: string | null): Syntax =>
  template?.includes('<tool_call>')
    ? { around: ['<tool_call>\n', '\n</tool_call>'], arguments: 'arguments' }
    : { around: ['', ''], arguments: template?.includes('"parameters": ') ? 'parameters' : 'arguments' };

/** What a text must be that calls; null if it need not. */
export function callGrammar(choice: ToolChoice, tools: readonly Tool[], template: string | null): ServedGrammar | null {
  if (choice.kind === 'auto' || choice.kind === 'none') return null;
  const { around, arguments: named } = syntaxOf(template);
  const able = choice.kind === 'one' ? tools.filter(({ name }) => name === choice.name) : tools;
  // References of a schema start at its root, so its definitions are moved to the place that it has now.
  const options = able.map(({ name, parameters }, i) => ({
    type: 'object',
    properties: { name: { const: name }, [named]: moved(parameters, `#/anyOf/${i}/properties/${named}`) },
    required: ['name', named],
  }));
  return { kind: 'schema', schema: { anyOf: options }, around };
}

/** A schema whose references are changed to its new place. */
function moved(schema: unknown, place: string): unknown {
  const within = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(within);
    if (!isRecord(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [
        key,
        key === '$ref' && typeof each === 'string' && each.startsWith('#') ? `${place}${each.slice(1)}` : within(each),
      ]),
    );
  };
  // Without any schema, any object.
  return isRecord(schema) && Object.keys(schema).length === 0 ? { type: 'object' } : within(schema);
}

/** Reads a text as it is written; the part that is certainly no call may be shown. */
export interface CallReader {
  push(text: string): string;
  /** What is left to show, and the calls. */
  end(): { readonly text: string; readonly calls: readonly ToolCall[] };
}

/** For texts that call nothing. */
export const plainReader = (): CallReader => ({ push: (text) => text, end: () => ({ text: '', calls: [] }) });

const mark = '<tool_call>';
/** What may precede a call that is the whole text: small models leave out, or invent, what should. */
const openers = /^(?:<tool_call>|<tools>|<function_call>|<\|python_tag\|>|\[TOOL_CALLS\]|```(?:json|xml)?(?=\s|$))\s*/;
const openings = ['<tool_call>', '<tools>', '<function_call>', '<|python_tag|>', '[TOOL_CALLS]', '```json', '```xml'];
/** What it begins with behind that, blanks aside. */
const keys = ['name', 'arguments', 'parameters'].flatMap((key) => [`{"${key}"`, `[{"${key}"`]);

/** Whether a text may still turn out to be a call as a whole. */
function mayBeCall(text: string): boolean {
  const start = text.trimStart();
  const inner = start.replace(openers, '');
  if (inner === start && openings.some((opening) => opening.startsWith(start))) return true;
  const begun = inner.slice(0, 100).replace(/\s/g, '');
  return begun.startsWith(mark) || keys.some((key) => key.startsWith(begun) || begun.startsWith(key));
}

/** `most`: calls of a text; those behind them are left out. */
export function callReader(tools: readonly Tool[], most = Infinity): CallReader {
  let heldBack = '';
  /** Of the text so far nothing has been shown: it may be a call as a whole. */
  let isFresh = true;
  let isCall = false;
  return {
    push(text) {
      heldBack += text;
      if (isCall) return '';
      if (isFresh && mayBeCall(heldBack)) return '';
      isFresh = false;
      const found = heldBack.indexOf(mark);
      isCall = found >= 0;
      let safe = isCall ? found : heldBack.length;
      // The end of the text so far may be the beginning of a call.
      for (let length = Math.min(mark.length - 1, heldBack.length); !isCall && length > 0; length--)
        if (heldBack.endsWith(mark.slice(0, length))) {
          safe = heldBack.length - length;
          break;
        }
      const shown = heldBack.slice(0, safe);
      heldBack = heldBack.slice(safe);
      return shown;
    },
    end() {
      const calls = callsIn(heldBack, tools).slice(0, most);
      if (calls.length === 0) return { text: heldBack, calls };
      return {
        text: heldBack.startsWith(mark) || isFresh ? '' : heldBack.slice(0, Math.max(0, heldBack.indexOf(mark))),
        calls,
      };
    },
  };
}

/** A turn of the model: its text without calls, and the calls. */
export interface Turn {
  readonly text: string;
  readonly calls: readonly ToolCall[];
}

/** Of a whole text. */
export function turnOf(text: string, reader: CallReader): Turn {
  const shown = reader.push(text);
  const { text: rest, calls } = reader.end();
  return { text: shown + rest, calls };
}

/** Calls of these functions that a text is made of; none if it is anything else. */
function callsIn(text: string, tools: readonly Tool[]): ToolCall[] {
  const marked = [...text.matchAll(/<tool_call>([^]*?)(?:<\/tool_call>|$)/g)].map(([, inner]) => inner!);
  const all = marked.length > 0 ? marked : [upToCloser(text.trim().replace(openers, ''))];
  const calls = all.map((each) => readCalls(each, tools));
  // The last call may be cut off; those before it are whole.
  if (calls.length > 1 && calls.at(-1) === null && !text.trimEnd().endsWith('</tool_call>')) calls.pop();
  return calls.includes(null) ? [] : calls.flatMap((each) => each!);
}

/** JSON up to what closes it; a closer within one of its texts closes nothing. */
function upToCloser(json: string): string {
  for (const { 0: found, index } of json.matchAll(/"(?:\\.|[^"\\\n])*"?|<\/tools>|<\/function_call>|```/g))
    if (!found.startsWith('"')) return json.slice(0, index);
  return json;
}

function readCalls(text: string, tools: readonly Tool[]): ToolCall[] | null {
  const value = parsed(text);
  if (value === undefined) {
    // Some models write one call a line, and the last line may be cut off.
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    if (lines.length < 2) return null;
    const each = lines.map((line) => readCalls(line, tools));
    return each.slice(0, -1).includes(null) ? null : each.flatMap((calls) => calls ?? []);
  }
  const calls = (Array.isArray(value) ? (value as unknown[]) : [value]).map((call): ToolCall | null => {
    if (!isRecord(call)) return null;
    const { name } = call;
    const given = call['arguments'] ?? call['parameters'] ?? {};
    const isKnown = typeof name === 'string' && tools.some((tool) => tool.name === name);
    if (!isKnown || !isRecord(typeof given === 'string' ? parsed(given) : given)) return null;
    return { name, arguments: typeof given === 'string' ? given : JSON.stringify(given) };
  });
  return calls.length === 0 || calls.includes(null) ? null : (calls as ToolCall[]);
}

/** Undefined if it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
