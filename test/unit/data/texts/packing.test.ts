import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Document } from '../../../../backend/data/texts/documents.ts';
import { packDocuments, type PackingOptions } from '../../../../backend/data/texts/packing.ts';
import { createTokenFile, openTokenFile, type TokenSet } from '../../../../backend/data/texts/token-file.ts';
import { loadTokenizer, type Tokenizer } from '../../../../backend/data/tokenizer/tokenizer.ts';
import { windowOrder } from '../../../../backend/data/texts/window-order.ts';
import { random } from '../../../support/random.ts';
import { caught, file, temporaryFolder } from '../../formats/fixtures.ts';
import { byteLevelFile, numberEntry, stringEntry } from '../fixtures.ts';

const windowsOf = (set: TokenSet) =>
  Array.from({ length: set.windows }, (_, i) => {
    const { ids, targets } = set.read(i);
    return { ids: [...ids], targets: [...targets] };
  });

describe('token files', () => {
  it('cut a stream into windows that share one token, each token a target once', () => {
    const writer = createTokenFile(join(temporaryFolder(), 'deep', 'a.tokens'), 4, 0);
    writer.append([1, 2, 3, 4, 5], {});
    writer.append([6, 7, 8], {});
    const set = writer.finish();
    expect(windowsOf(set)).toEqual([
      { ids: [1, 2, 3, 4], targets: [2, 3, 4, -1] },
      { ids: [4, 5, 6, 7], targets: [5, 6, 7, -1] },
      { ids: [7, 8, 8, 8], targets: [8, -1, -1, -1] },
    ]);
    expect(set).toMatchObject({ windows: 3, documents: 2, tokens: 8, targets: 7, windowLength: 4 });
    expect(() => set.read(3)).toThrow(RangeError);
    set.close();
  });

  it('keep a conversation that fits in one window, and leave out windows without targets', () => {
    const writer = createTokenFile(join(temporaryFolder(), 'a.tokens'), 4, 9);
    const mask = (text: string) => ({ isTarget: [...text].map((c) => c === 'x'), together: true });
    writer.append([1, 2, 3], mask('..x'));
    writer.append([4, 5, 6], mask('.xx'));
    writer.append([7, 7, 7, 7, 7, 7, 7], mask('.......'));
    writer.append([1, 2, 3, 4, 5], mask('....x'));
    const set = writer.finish();
    expect(windowsOf(set)).toEqual([
      { ids: [1, 2, 3, 4], targets: [-1, 3, -1, -1] },
      { ids: [4, 5, 6, 7], targets: [5, 6, -1, -1] },
      { ids: [4, 5, 5, 5], targets: [5, -1, -1, -1] },
    ]);
    expect(set.tokens).toBe(18);
    set.close();
  });

  it('hold more than a buffer, and ids up to 2^31 − 1', () => {
    const next = random(5);
    const ids = Array.from({ length: 200_000 }, () => Math.floor(next() * 2 ** 31));
    const writer = createTokenFile(join(temporaryFolder(), 'a.tokens'), 512, 0);
    for (let i = 0; i < ids.length; i += 1000) writer.append(ids.slice(i, i + 1000), {});
    const set = writer.finish();
    expect(set.windows).toBe(Math.ceil(199_999 / 511));
    const seen = windowsOf(set).flatMap(({ targets }) => targets.filter((id) => id >= 0));
    expect(seen).toEqual(ids.slice(1));
    set.close();
  });

  it('sweep away what a killed process left, and nothing of one that lives', () => {
    const folder = temporaryFolder();
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    const uuid = '00000000-0000-4000-8000-000000000000';
    const [killed, alive, other] = [`b.tokens.${pid}.${uuid}.tmp`, `b.tokens.${process.pid}.${uuid}.tmp`, 'c.tmp'];
    for (const name of [killed, alive, other]) writeFileSync(join(folder, name), '');
    createTokenFile(join(folder, 'a.tokens'), 4, 0).abandon();
    expect(readdirSync(folder)).toEqual([alive, other]);
  });

  it('leave nothing behind where the disk is full from the first byte', () => {
    const folder = temporaryFolder();
    const program = `import { createTokenFile } from './backend/data/texts/token-file.ts'; createTokenFile(${JSON.stringify(join(folder, 'a.tokens'))}, 4, 0);`;
    const command = [
      '-c',
      'ulimit -f 0 && exec "$@"',
      'sh',
      process.execPath,
      '--import',
      'tsx',
      '--input-type=module',
      '-e',
      program,
    ];
    const { stderr } = spawnSync('sh', command, { env: { ...process.env, TSX_DISABLE_CACHE: '1' } });
    expect(stderr.toString()).toContain('the file would be too large for this disk');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('leave nothing behind when abandoned, and nothing under their name before they are whole', () => {
    const folder = temporaryFolder();
    const writer = createTokenFile(join(folder, 'a.tokens'), 4, 0);
    writer.append([1, 2, 3], {});
    expect(readdirSync(folder).filter((name) => name.endsWith('.tokens'))).toEqual([]);
    writer.abandon();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('refuse what is damaged', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'a.tokens');
    const writer = createTokenFile(path, 4, 0);
    writer.append([1, 2, 3, 4, 5], {});
    writer.finish().close();
    const bytes = readFileSync(path);
    const refused = (change: (copy: Buffer) => void): string => {
      const copy = Buffer.from(bytes);
      change(copy);
      writeFileSync(path, copy);
      return caught(() => openTokenFile(path)).message;
    };
    expect(refused((copy) => copy.fill(0, 0, 4))).toMatch(/no token file/);
    expect(refused((copy) => copy.writeUInt32LE(99, 4))).toMatch(/no token file/);
    expect(refused((copy) => copy.writeUInt32LE(99, copy.length - 4))).toMatch(/damaged/);
    writeFileSync(path, bytes);
    truncateSync(path, bytes.length - 4);
    expect(caught(() => openTokenFile(path)).message).toMatch(/damaged/);
    expect(caught(() => openTokenFile(file(folder, 'b', 'xyz'))).message).toMatch(/no token file/);
  });
});

describe('windowOrder', () => {
  it.each([1, 2, 3, 5, 16, 17, 1000, 4097])('is a permutation of %i windows', (count) => {
    const order = windowOrder(count, 7, 3);
    const places = Array.from({ length: count }, (_, i) => order(i));
    expect([...places].sort((a, b) => a - b)).toEqual(places.map((_, i) => i));
    expect(() => order(count)).toThrow(RangeError);
  });

  it('depends on seed and epoch, and on nothing else', () => {
    const first = (seed: number, epoch: number): number[] => {
      const order = windowOrder(1000, seed, epoch);
      return [0, 1, 2, 3, 4, 5, 6, 7].map(order);
    };
    expect(first(1, 0)).toEqual(first(1, 0));
    expect(first(1, 0)).not.toEqual(first(1, 1));
    expect(first(1, 0)).not.toEqual(first(2, 0));
  });

  it('mixes: neighbours part, and the first tenth holds a tenth of every tenth', () => {
    const count = 10_000;
    const order = windowOrder(count, 1, 0);
    const places = Array.from({ length: count }, (_, i) => order(i));
    const apart = places.slice(1).map((place, i) => Math.abs(place - places[i]!));
    // The mean distance of two random places is a third of all.
    expect(apart.reduce((a, b) => a + b) / apart.length / count).toBeCloseTo(1 / 3, 1);
    for (let tenth = 0; tenth < 10; tenth++) {
      const share = places.slice(0, 1000).filter((place) => Math.floor(place / 1000) === tenth).length;
      expect(share).toBeGreaterThan(60);
      expect(share).toBeLessThan(140);
    }
  });
});

const tokenizer = loadTokenizer('models/typescript-5m');
/** The same with further added tokens, special or not, from id 4,096 on. */
function withMarkers(...markers: (readonly [content: string, special: boolean])[]): Tokenizer {
  const folder = temporaryFolder();
  const path = join(folder, 'tokenizer.json');
  const json = JSON.parse(readFileSync('models/typescript-5m/tokenizer.json', 'utf8')) as { added_tokens: object[] };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const added = markers.map(([content, special], i) => ({ id: 4096 + i, content, special, ...flags }));
  writeFileSync(path, JSON.stringify({ ...json, added_tokens: [...json.added_tokens, ...added] }));
  return loadTokenizer(folder);
}
const options = (more: Partial<PackingOptions> = {}): PackingOptions => ({
  directory: temporaryFolder(),
  windowLength: 16,
  heldOutFraction: 0.25,
  seed: 1,
  ...more,
});
const text = (content: string, name = content): Document => ({ kind: 'text', name, text: content });
const many = Array.from({ length: 200 }, (_, i) => text(`const variable${i} = ${i};\n`));
/** The stream of a set of texts, without what overlaps. */
const stream = (set: TokenSet): number[] =>
  windowsOf(set).flatMap(({ ids, targets }) => [ids[0]!, ...targets].filter((id) => id >= 0).slice(1));
const documentsIn = (set: TokenSet): string[] => {
  const first = set.read(0).ids[0]!;
  return tokenizer
    .decode([first, ...stream(set)])
    .split('<|endoftext|>')
    .filter((part) => part !== '');
};

describe('packDocuments', () => {
  it('puts every document whole into one of the two sets, by its content', async () => {
    const sets = await packDocuments(many, tokenizer, options());
    const [train, heldOut] = [documentsIn(sets.train!), documentsIn(sets.heldOut!)];
    expect([...train, ...heldOut].sort()).toEqual(many.map(({ name }) => name).sort());
    expect(heldOut.length).toBeGreaterThan(30);
    expect(heldOut.length).toBeLessThan(70);
    // Other names, other order, other neighbours: the same split.
    const half = many.filter((_, i) => i % 2 === 0).reverse();
    const again = await packDocuments(
      half.map((d) => ({ ...d, name: 'other' })),
      tokenizer,
      options(),
    );
    expect(documentsIn(again.heldOut!).sort()).toEqual(
      heldOut.filter((d) => half.some(({ name }) => name === d)).sort(),
    );
    const otherSeed = await packDocuments(many, tokenizer, options({ seed: 2 }));
    expect(documentsIn(otherSeed.heldOut!).sort()).not.toEqual([...heldOut].sort());
    expect(again.id).not.toBe(sets.id);
    [sets, again, otherSeed].forEach((one) => one.close());
  });

  it('writes token files once, and again when anything changes', async () => {
    const directory = temporaryFolder();
    let read = 0;
    const counted: Iterable<Document> = {
      *[Symbol.iterator]() {
        for (const document of many.slice(0, 20)) {
          read += 1;
          yield document;
        }
      },
    };
    const progress: number[] = [];
    const first = await packDocuments(
      counted,
      tokenizer,
      options({ directory, onProgress: (done) => progress.push(done) }),
    );
    expect(read).toBe(40);
    expect(progress).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    const second = await packDocuments(counted, tokenizer, options({ directory }));
    expect(read).toBe(60);
    expect(second.id).toBe(first.id);
    expect(windowsOf(second.train!)).toEqual(windowsOf(first.train!));
    const longer = await packDocuments(counted, tokenizer, options({ directory, windowLength: 17 }));
    expect(longer.id).not.toBe(first.id);
    [first, second, longer].forEach((one) => one.close());
    expect(readdirSync(directory)).toHaveLength(4);
  });

  it('removes what was used longest ago beyond its limit, and nothing of its own', async () => {
    const directory = temporaryFolder();
    const kept = (): string[] => [...new Set(readdirSync(directory).map((name) => name.split('.')[0]!))].sort();
    const pack = async (seed: number, mostBytes?: number): Promise<string> => {
      const sets = await packDocuments(many, tokenizer, options({ directory, seed, ...(mostBytes && { mostBytes }) }));
      sets.close();
      return sets.id;
    };
    const first = await pack(1);
    const bytes = readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
    await pack(2);
    for (const name of readdirSync(directory)) utimesSync(join(directory, name), 1, 1);
    expect(await pack(1)).toBe(first);
    const third = await pack(3, 2.1 * bytes);
    expect(kept()).toEqual([first, third].sort());
    const fourth = await pack(4, 1);
    expect(kept()).toEqual([fourth]);
  });

  it('makes only the wanted parts, and no held-out one for a fraction of nothing', async () => {
    const heldOut = await packDocuments(many, tokenizer, options({ parts: ['heldOut'] }));
    expect(heldOut.train).toBeNull();
    expect(documentsIn(heldOut.heldOut!).length).toBeGreaterThan(0);
    const all = await packDocuments(many, tokenizer, options({ heldOutFraction: 0 }));
    expect(all.heldOut).toBeNull();
    expect(documentsIn(all.train!)).toHaveLength(200);
    heldOut.close();
    all.close();
  });

  it('leaves something of few documents to learn from, whatever their hashes are', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const sets = await packDocuments(many.slice(0, 2), tokenizer, options({ heldOutFraction: 0.9, seed }));
      expect([sets.train!.documents, sets.heldOut!.documents]).toEqual([1, 1]);
      sets.close();
    }
  });

  it('holds something out of few documents, even of one', async () => {
    const two = await packDocuments(many.slice(0, 2), tokenizer, options({ heldOutFraction: 0.01 }));
    expect([documentsIn(two.train!).length, documentsIn(two.heldOut!).length]).toEqual([1, 1]);
    const lines = Array.from({ length: 10 }, (_, i) => `let line${i} = ${i};\n`).join('');
    const one = await packDocuments([text(lines)], tokenizer, options({ heldOutFraction: 0.2 }));
    expect(documentsIn(one.train!)[0]! + documentsIn(one.heldOut!)[0]!).toBe(lines);
    expect(documentsIn(one.heldOut!)[0]).toMatch(/^let line[78] = .;\n/);
    two.close();
    one.close();
  });

  it('counts only what the assistant said of conversations', async () => {
    const template =
      "{% for m in messages %}{{ '<|user|>' + m.role + '\n' + m.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|user|>assistant\n' }}{% endif %}";
    const chatter = loadTokenizer(
      byteLevelFile(temporaryFolder(), 'smollm', [
        stringEntry('tokenizer.chat_template', template),
        numberEntry('tokenizer.ggml.eos_token_id', 0),
      ]),
    );
    const chat = (question: string, answer: string): Document => ({
      kind: 'chat',
      name: question,
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: answer },
      ],
    });
    const chats = Array.from({ length: 8 }, (_, i) => chat(`question ${i}`, `answer ${i}`));
    const sets = await packDocuments(chats, chatter, options({ windowLength: 64, heldOutFraction: 0 }));
    expect(sets.areChats).toBe(true);
    const targets = windowsOf(sets.train!).flatMap(({ targets }) => targets.filter((id) => id >= 0));
    expect(chatter.decode(targets)).toBe(chats.map((_, i) => `answer ${i}<|end|>`).join(''));
    // A conversation begins in the window in which it ends.
    for (const { ids, targets } of windowsOf(sets.train!)) {
      const last = targets.findLastIndex((id) => id >= 0);
      expect(chatter.decode(ids.slice(0, last + 2))).toMatch(
        /^(<\|user\|>user\nquestion \d<\|end\|>\n<\|user\|>assistant\nanswer \d<\|end\|>\n?)+$/,
      );
    }
    sets.close();
    const text: Document = { kind: 'text', name: 't', text: 'a text' };
    const mixed = await packDocuments([...chats, text], chatter, options({ windowLength: 64, heldOutFraction: 0 }));
    expect(mixed.areChats).toBe(false);
    mixed.close();
    await expect(packDocuments([chats[0]!], chatter, options())).rejects.toThrow(/only conversation/);
    const silent: Document = { kind: 'chat', name: 's', messages: [{ role: 'user', content: 'hm' }] };
    const directory = temporaryFolder();
    await expect(packDocuments([silent, silent], chatter, options({ directory, heldOutFraction: 0 }))).rejects.toThrow(
      /nothing to learn from: 2 documents/,
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  it('takes markers for plain text if the model has no row for one of them, and packs again for another model', async () => {
    const directory = temporaryFolder();
    const marked = withMarkers(['<image>', true], ['<think>', false]);
    const texts = [text('let a = 1; <image>\n'), text('let b = 2; <think>\n'), text('let c = 3;\n')];
    const pack = (documents: Document[], vocabulary?: number) =>
      packDocuments(documents, marked, options({ directory, heldOutFraction: 0, ...(vocabulary && { vocabulary }) }));
    const readable = await pack(texts);
    const [image, think] = [4096, 4097];
    expect(stream(readable.train!)).toEqual(expect.arrayContaining([image, think]));
    const plain = await pack([texts[0]!, texts[2]!], image);
    expect(Math.max(...stream(plain.train!))).toBeLessThan(image);
    expect(documentsIn(plain.train!)).toEqual([texts[0]!.name, texts[2]!.name]);
    // A marker that is not special is text only as its token.
    await expect(pack(texts, think)).rejects.toMatchObject({
      code: 'bad-data',
      message:
        'let b = 2; <think>\n has the token <think>, which the model cannot read: its vocabulary ends before it.',
    });
    const all = await pack(texts, think + 1);
    expect(all.id).toBe(readable.id);
    [readable, plain, all].forEach((one) => one.close());
  });

  it('begins a text without its markers as it begins others, and separates texts only by what the model can read', async () => {
    const [bos, end] = [4096, 0];
    const opening = withMarkers(['<bos>', true], ['<image>', true]);
    const begun: typeof opening = {
      ...opening,
      startId: bos,
      bosId: bos,
      encode: (content) => [bos, ...opening.encode(content)],
    };
    const pack = (separatorId: number) =>
      packDocuments(
        [text('let a = 1; <image>\n')],
        { ...begun, separatorId },
        options({ heldOutFraction: 0, vocabulary: bos + 1 }),
      );
    const sets = await Promise.all([pack(end), pack(bos + 1)]);
    const plain = opening.encodePlain('let a = 1; <image>\n');
    expect(sets.map(({ train }) => [train!.read(0).ids[0], ...stream(train!)])).toEqual([
      [bos, ...plain, end],
      [bos, ...plain],
    ]);
    sets.forEach((one) => one.close());
  });

  it('names the conversation that has a token without a row', async () => {
    const marked = {
      ...withMarkers(['<image>', true]),
      chatTemplate: '{% for m in messages %}{{ m.content }}{% endfor %}',
    };
    const document: Document = {
      kind: 'chat',
      name: 'chats.jsonl:7',
      messages: [{ role: 'assistant', content: 'a <image>' }],
    };
    const packing = packDocuments([document], marked, options({ heldOutFraction: 0, vocabulary: 4096 }));
    await expect(packing).rejects.toThrow(/^chats\.jsonl:7 has the token <image>/);
  });

  it('names the conversation that a template refuses', async () => {
    const chatter = loadTokenizer(
      byteLevelFile(temporaryFolder(), 'smollm', [
        stringEntry('tokenizer.chat_template', "{{ raise_exception('no') }}"),
      ]),
    );
    const document: Document = { kind: 'chat', name: 'chats.jsonl:7', messages: [{ role: 'user', content: 'a' }] };
    await expect(packDocuments([document, document], chatter, options())).rejects.toThrow(
      /^chats\.jsonl:7: The chat template/,
    );
  });

  it('stops when aborted and leaves nothing', async () => {
    const directory = temporaryFolder();
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 5) controller.abort();
    };
    const packing = packDocuments(many, tokenizer, options({ directory, onProgress, signal: controller.signal }));
    await expect(packing).rejects.toMatchObject({ code: 'cancelled' });
    expect(readdirSync(directory)).toEqual([]);
  });
});
