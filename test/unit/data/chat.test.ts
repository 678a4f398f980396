import { describe, expect, it } from 'vitest';
import { encodeChat, renderChat } from '../../../backend/data/chat.ts';
import { loadTokenizer, type Tokenizer } from '../../../backend/data/tokenizer.ts';
import { caught, temporaryFolder } from '../formats/fixtures.ts';
import { byteLevelFile, numberEntry, sentencePieceFile, stringEntry } from './fixtures.ts';

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
function assistantText(tokenizer: Tokenizer, messages: ReturnType<typeof turns>): string[] {
  const { ids, isAssistant } = encodeChat(tokenizer, messages);
  const pieces: number[][] = [];
  ids.forEach((id, i) => {
    if (!isAssistant[i]) return;
    if (i === 0 || !isAssistant[i - 1]) pieces.push([]);
    pieces.at(-1)!.push(id);
  });
  return pieces.map((piece) => tokenizer.decode(piece));
}

describe('renderChat', () => {
  it('trims blocks as Transformers does', () => {
    const tokenizer = withTemplate(chatMl);
    expect(renderChat(tokenizer, turns('hi'))).toBe('<|user|>user\nhi<|end|>\n');
    expect(renderChat(tokenizer, turns('hi'), { addGenerationPrompt: true })).toBe(
      '<|user|>user\nhi<|end|>\n<|user|>assistant\n',
    );
  });

  it('knows the named tokens, the date and further keys of a message', () => {
    const tokenizer = withTemplate(
      "{{ bos_token }}|{{ eos_token }}|{{ strftime_now('%Y') }}|{{ messages[0].tool_calls | length }}",
    );
    const messages = [{ role: 'user', content: '', tool_calls: [1, 2] }];
    expect(renderChat(tokenizer, messages)).toBe(`<|user|>|<|end|>|${new Date().getFullYear()}|2`);
  });

  it('passes on what the template refuses', () => {
    const tokenizer = withTemplate("{{ raise_exception('Roles must alternate') }}");
    expect(caught(() => renderChat(tokenizer, turns('a')))).toMatchObject({
      code: 'bad-data',
      message: `The chat template of ${tokenizer.path} refuses the conversation: Roles must alternate.`,
    });
  });

  it('says that there is no template, or none that can be read', () => {
    const bare = loadTokenizer(byteLevelFile(temporaryFolder(), 'smollm'));
    expect(caught(() => renderChat(bare, turns('a'))).message).toMatch(/has no chat template/);
    expect(caught(() => renderChat(withTemplate('{% if %}'), turns('a'))).message).toMatch(/cannot be read/);
  });
});

describe('encodeChat', () => {
  it('marks the answers with their end of turn, and nothing after it', () => {
    const tokenizer = withTemplate(chatMl);
    const messages = turns('What is 1 + 1?', 'Two.', 'And then?', ' Three\n');
    expect(encodeChat(tokenizer, messages).ids).toEqual(
      tokenizer.encode(renderChat(tokenizer, messages), { addSpecial: false }),
    );
    expect(assistantText(tokenizer, messages)).toEqual(['Two.<|end|>', ' Three\n<|end|>']);
  });

  it('marks nothing in a conversation without answers', () => {
    expect(assistantText(withTemplate(chatMl), turns('only a question'))).toEqual([]);
  });

  it('takes an answer as it is where the turn has no end token', () => {
    const tokenizer = loadTokenizer(
      sentencePieceFile(temporaryFolder(), [
        stringEntry(
          'tokenizer.chat_template',
          "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }} A:{% else %} {{ m.content }} {% endif %}{% endfor %}",
        ),
      ]),
    );
    const { ids, isAssistant } = encodeChat(tokenizer, turns('fox', 'dog', 'the', 'end'));
    const said = ids.filter((_, i) => isAssistant[i]).map((id) => tokenizer.tokenText(id));
    expect(said.join('').replaceAll(/\s+/g, ' ').trim()).toBe('dog end');
  });

  it('refuses templates that rewrite earlier turns', () => {
    // Like Qwen 3's: thoughts of earlier answers are taken out.
    const template = `{% for m in messages %}{{ '<|user|>' + m.role + ':' }}{% if m.role == 'assistant' and loop.last %}{{ '(thought)' }}{% endif %}{{ m.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|user|>assistant:' }}{% endif %}`;
    const tokenizer = withTemplate(template);
    expect(assistantText(tokenizer, turns('a', 'b'))).toEqual(['(thought)b<|end|>']);
    expect(caught(() => encodeChat(tokenizer, turns('a', 'b', 'c', 'd')))).toMatchObject({
      code: 'bad-data',
      message: expect.stringMatching(/rewrites earlier turns: what it makes of turns 1 to 2/) as string,
    });
  });
});
