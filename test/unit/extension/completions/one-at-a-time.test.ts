/** Who waits for a request, and when it is given up. */
import { describe, expect, it } from 'vitest';
import { oneAtATime, type SharedRequest } from '../../../../extension/completions/one-at-a-time.ts';

/** A request that answers when told to, and what became of it. */
function manual(
  key: string,
  size = 1,
): SharedRequest<string> & { begun: number; given: boolean; answer: (text: string) => void } {
  let resolve: (text: string) => void = () => {};
  const request = {
    key,
    size,
    begun: 0,
    given: false,
    answer: (text: string) => resolve(text),
    work: (signal: AbortSignal) => {
      request.begun++;
      signal.addEventListener('abort', () => (request.given = true));
      return new Promise<string>((done) => (resolve = done));
    },
  };
  return request;
}
const staying = (): AbortSignal => new AbortController().signal;

describe('one request at a time', () => {
  it('answers who asks the same with the same', async () => {
    const requests = oneAtATime<string>();
    const one = manual('a');
    const both = [requests.ask(one, staying()), requests.ask(one, staying())];
    one.answer('said');
    expect(await Promise.all(both)).toEqual(['said', 'said']);
    expect(one.begun).toBe(1);
  });

  it('goes on while one of those who wait stays, and is given up with the last', async () => {
    const requests = oneAtATime<string>();
    const one = manual('a');
    const [first, second] = [new AbortController(), new AbortController()];
    const answers = [requests.ask(one, first.signal), requests.ask(one, second.signal)];
    first.abort();
    expect(one.given).toBe(false);
    second.abort();
    expect(one.given).toBe(true);
    one.answer('too late');
    expect(await Promise.all(answers)).toEqual([null, null]);
  });

  it('gives up what is asked when it is stopped, and asks the same anew', async () => {
    const requests = oneAtATime<string>();
    const [one, again] = [manual('a'), manual('a')];
    const first = requests.ask(one, staying());
    requests.stop();
    expect(one.given).toBe(true);
    const second = requests.ask(again, staying());
    one.answer('of before');
    again.answer('said');
    expect(await Promise.all([first, second])).toEqual([null, 'said']);
    requests.stop();
  });

  it('answers who stays when another leaves', async () => {
    const requests = oneAtATime<string>();
    const one = manual('a');
    const leaving = new AbortController();
    const answers = [requests.ask(one, leaving.signal), requests.ask(one, staying())];
    leaving.abort();
    one.answer('said');
    expect(await Promise.all(answers)).toEqual([null, 'said']);
  });

  it('asks anew what was given up and has not ended yet', async () => {
    const requests = oneAtATime<string>();
    const [given, again] = [manual('a'), manual('a')];
    const leaving = new AbortController();
    const first = requests.ask(given, leaving.signal);
    leaving.abort();
    const second = requests.ask(again, staying());
    given.answer('old');
    again.answer('new');
    expect(await Promise.all([first, second])).toEqual([null, 'new']);
  });

  it('gives one up for another, and does not join one that asks for less', async () => {
    const requests = oneAtATime<string>();
    const [less, more, other] = [manual('a', 1), manual('a', 3), manual('b')];
    const answers = [less, more, other].map((one) => requests.ask(one, staying()));
    expect([less.given, more.given, other.given]).toEqual([true, true, false]);
    for (const one of [less, more, other]) one.answer(one.key);
    expect(await Promise.all(answers)).toEqual([null, null, 'b']);
  });

  it('asks ahead where nothing is asked, and who asks the same later finds it begun', async () => {
    const requests = oneAtATime<string>();
    const [ahead, late] = [manual('a'), manual('b')];
    const first = requests.ahead(ahead);
    expect(await requests.ahead(late)).toBeNull();
    const again = requests.ahead(ahead);
    expect(late.begun).toBe(0);
    const answer = requests.ask(ahead, staying());
    ahead.answer('said');
    expect([await first, await again, await answer, ahead.begun]).toEqual(['said', 'said', 'said', 1]);
  });

  it('asks ahead while one that was given up comes to its end', async () => {
    const requests = oneAtATime<string>();
    const [given, ahead] = [manual('a'), manual('b')];
    const leaving = new AbortController();
    const left = requests.ask(given, leaving.signal);
    leaving.abort();
    const first = requests.ahead(ahead);
    given.answer('old');
    ahead.answer('said');
    expect([await left, await first, ahead.begun]).toEqual([null, 'said', 1]);
  });

  it('gives an error to those who wait, and to no others', async () => {
    const requests = oneAtATime<string>();
    const failing = { key: 'a', size: 1, work: () => Promise.reject(new Error('broken')) };
    await expect(requests.ask(failing, staying())).rejects.toThrow('broken');
    const gone = new AbortController();
    const answer = requests.ask(failing, gone.signal);
    gone.abort();
    expect(await answer).toBeNull();
  });
});
