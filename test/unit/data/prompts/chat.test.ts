import { describe, expect, it } from 'vitest';
import { encodeChat, renderChat } from '../../../../backend/data/prompts/chat.ts';
import { loadTokenizer, type Tokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { UserError } from '../../../../protocol/errors.ts';
import { temporaryFolder } from '../../formats/fixtures.ts';
import { byteLevelFile, numberEntry, sentencePieceFile, stringEntry } from '../fixtures.ts';

/** `<|user|>` opens every turn, `<|end|>` closes it; the vocabulary has both as special tokens. */
const chatMl = `{% for m in messages %}
{{ '<|user|>' + m['role'] + '\n' + m['content'] + '<|end|>' + '\n' }}
{%- endfor %}
    {% if add_generation_prompt %}
{{ '<|user|>assistant\n' }}
    {%- endif %}`;

const withTemplate = (template: string): Tokenizer =>
  loadTokenizer(
    byteLevelFile(temporaryFolder(), 'smollm', [
      stringEntry('tokenizer.chat_template', template),
      numberEntry('tokenizer.ggml.eos_token_id', 0),
      numberEntry('tokenizer.ggml.bos_token_id', 1),
    ]),
  );

const turns = (...contents: string[]) =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));

/** The text of the tokens that count, with a bar between pieces that do not touch. */
async function assistantText(tokenizer: Tokenizer, messages: ReturnType<typeof turns>): Promise<string[]> {
  const { ids, isAssistant } = await encodeChat(tokenizer, messages);
  const pieces: number[][] = [];
  ids.forEach((id, i) => {
    if (!isAssistant[i]) return;
    if (i === 0 || !isAssistant[i - 1]) pieces.push([]);
    pieces.at(-1)!.push(id);
  });
  return pieces.map((piece) => tokenizer.decode(piece));
}

describe('renderChat', () => {
  it('trims blocks as Transformers does', async () => {
    const tokenizer = withTemplate(chatMl);
    expect(await renderChat(tokenizer, turns('hi'))).toBe('<|user|>user\nhi<|end|>\n');
    expect(await renderChat(tokenizer, turns('hi'), { addGenerationPrompt: true })).toBe(
      '<|user|>user\nhi<|end|>\n<|user|>assistant\n',
    );
  });

  it('knows the named tokens, the date and further keys of a message', async () => {
    const tokenizer = withTemplate(
      "{{ bos_token }}|{{ eos_token }}|{{ strftime_now('%Y') }}|{{ messages[0].tool_calls | length }}",
    );
    const messages = [{ role: 'user', content: '', tool_calls: [1, 2] }];
    expect(await renderChat(tokenizer, messages)).toBe(`<|user|>|<|end|>|${new Date().getFullYear()}|2`);
  });

  it('passes on what the template refuses', async () => {
    const tokenizer = withTemplate("{{ raise_exception('Roles must alternate') }}");
    await expect(renderChat(tokenizer, turns('a'))).rejects.toMatchObject({
      code: 'bad-data',
      message: `The chat template of ${tokenizer.path} refuses the conversation: Roles must alternate.`,
    });
  });

  it('says that there is no template, or none that can be read', async () => {
    const bare = loadTokenizer(byteLevelFile(temporaryFolder(), 'smollm'));
    await expect(renderChat(bare, turns('a'))).rejects.toThrow(/has no chat template/);
    await expect(renderChat(withTemplate('{% if %}'), turns('a'))).rejects.toThrow(/cannot be read/);
    await expect(renderChat(withTemplate('x{{'), turns('a'))).rejects.toThrow(
      /cannot be read: the engine cannot follow it/,
    );
  });
});

describe('encodeChat', () => {
  it('marks the answers with their end of turn, and nothing after it', async () => {
    const tokenizer = withTemplate(chatMl);
    const messages = turns('What is 1 + 1?', 'Two.', 'And then?', ' Three\n');
    expect((await encodeChat(tokenizer, messages)).ids).toEqual(
      tokenizer.encode(await renderChat(tokenizer, messages), { addSpecial: false }),
    );
    expect(await assistantText(tokenizer, messages)).toEqual(['Two.<|end|>', ' Three\n<|end|>']);
  });

  it('marks nothing in a conversation without answers', async () => {
    expect(await assistantText(withTemplate(chatMl), turns('only a question'))).toEqual([]);
  });

  it('takes an answer as it is where the turn has no end token', async () => {
    const tokenizer = loadTokenizer(
      sentencePieceFile(temporaryFolder(), [
        stringEntry(
          'tokenizer.chat_template',
          "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }} A:{% else %} {{ m.content }} {% endif %}{% endfor %}",
        ),
      ]),
    );
    const { ids, isAssistant } = await encodeChat(tokenizer, turns('fox', 'dog', 'the', 'end'));
    const assistantTexts = ids.filter((_, i) => isAssistant[i]).map((id) => tokenizer.tokenText(id));
    expect(assistantTexts.join('').replaceAll(/\s+/g, ' ').trim()).toBe('dog end');
  });

  it('refuses templates that rewrite earlier turns', async () => {
    // Like Qwen 3's: thoughts of earlier answers are taken out.
    const template = `{% for m in messages %}{{ '<|user|>' + m.role + ':' }}{% if m.role == 'assistant' and loop.last %}{{ '(thought)' }}{% endif %}{{ m.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|user|>assistant:' }}{% endif %}`;
    const tokenizer = withTemplate(template);
    expect(await assistantText(tokenizer, turns('a', 'b'))).toEqual(['(thought)b<|end|>']);
    await expect(encodeChat(tokenizer, turns('a', 'b', 'c', 'd'))).rejects.toMatchObject({
      code: 'bad-data',
      message: expect.stringMatching(/rewrites earlier turns: turns 1 to 2 look different/) as string,
    });
  });
});

describe('a hostile template', () => {
  it.each<[string, string, RegExp]>([
    ['a loop of 10^9', '{% for i in range(1000000000) %}x{% endfor %}', /takes more steps than any conversation needs/],
    ['a range without end', '{{ range(0, 9, 0.0000000001) | length }}', /takes more steps/],
    [
      'nested loops',
      '{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}',
      /takes more steps/,
    ],
    ['a macro that calls itself', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}', /refuses the conversation/],
    [
      'a text that doubles',
      "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
      /writes more text than any conversation has/,
    ],
    [
      'a list that doubles',
      '{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}',
      /writes more text|takes more memory/,
    ],
    [
      'lists that stay',
      '{% set ns = namespace(s=[]) %}{% for i in range(900) %}{% set ns.s = ns.s + [range(1000)] %}{% endfor %}{{ ns.s | tojson(indent=100000) }}',
      /takes more (memory|steps)|writes more text|refuses/,
    ],
  ])('with %s ends with a sentence, and the next one renders', async (_, source, message) => {
    const hostile = withTemplate(source);
    const failed = renderChat(hostile, turns('a'));
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toBeInstanceOf(UserError);
    await expect(failed).rejects.toThrow(hostile.path);
    expect(await renderChat(withTemplate(chatMl), turns('hi'))).toBe('<|user|>user\nhi<|end|>\n');
  });

  it('is ended if no caller waits any more', async () => {
    const slow = withTemplate("{% for i in range(250000) %}{{ 'x' | upper }}{% endfor %}");
    const stop = new AbortController();
    const failed = renderChat(slow, turns('a'), { signal: stop.signal });
    const waiting = renderChat(slow, turns('a'), { signal: stop.signal });
    setImmediate(() => stop.abort());
    await expect(failed).rejects.toMatchObject({ code: 'cancelled' });
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    expect(await renderChat(withTemplate(chatMl), turns('hi'))).toBe('<|user|>user\nhi<|end|>\n');
  });

  it('may be given a range of its own', async () => {
    const ranges = '{{ range(3) | join }} {{ range(1, 4) | join }} {{ range(5, 0, -2) | join }}.{{ range(0) | join }}';
    expect(await renderChat(withTemplate(ranges), [])).toBe('012 123 531.');
  });
});
