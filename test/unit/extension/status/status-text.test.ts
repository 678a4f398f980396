import { describe, expect, it } from 'vitest';
import { statusText, type StatusView } from '../../../../extension/status/status-text.ts';
import type { Status } from '../../../../protocol/server.ts';

const idle: Status = {
  activity: 'idle',
  model: null,
  device: null,
  last: null,
  mode: null,
  tokensPerSecond: null,
  detail: '',
};
const view: StatusView = { state: 'running', status: idle, model: 'typescript-5m', mode: 'auto', done: null };
const texts = {
  name: 'Early Exit',
  activity: (what: string) => what,
  speed: (value: string, of: string | null) => `${of ?? ''} ${value} tokens/s`.trim(),
};
const text = (change: Partial<StatusView>): string => statusText({ ...view, ...change }, texts);

describe('the status item', () => {
  it('says the model and the mode, and after a generation its speed, all of it in a window of 800 pixels', () => {
    expect(text({ state: 'stopped' })).toBe('$(early-exit) typescript-5m · auto');
    const after: Status = {
      ...idle,
      model: 'typescript-5m',
      last: 'generation',
      mode: 'lossless',
      tokensPerSecond: 211.6,
    };
    expect(text({ status: after })).toBe('$(early-exit) typescript-5m · generation 212 tokens/s');
    const hub = { status: { ...after, model: 'q8_0.gguf' }, model: 'owner/name-GGUF:q8_0.gguf' };
    expect(text(hub)).toBe('$(early-exit) q8_0 · generation 212 tokens/s');
    const long = {
      status: { ...after, model: 'Qwen2.5-Coder-0.5B-Instruct' },
      model: '/m/Qwen2.5-Coder-0.5B-Instruct',
    };
    expect(text(long)).toBe('$(early-exit) Qwen2.5-Coder-0.5… · generation 212 tokens/s');
    expect(text({ status: { ...after, last: 'completion' } })).toContain('completion 212 tokens/s');
    expect(text({ status: { ...after, tokensPerSecond: 7.46 } })).toContain('7.5 tokens/s');
  });

  it('says nothing of another model than the chosen one', () => {
    const other: Status = { ...idle, model: 'typescript-5m', mode: 'fast', tokensPerSecond: 9 };
    expect(text({ status: other, model: '/m/Qwen2.5-Coder-0.5B.gguf' })).toBe(
      '$(early-exit) Qwen2.5-Coder-0.5B · auto',
    );
    expect(text({ model: 'owner/a-model-with-a-very-long-name-indeed' })).toBe(
      '$(early-exit) a-model-with-a-ve… · auto',
    );
  });

  it('says what the backend does, and how far a run is', () => {
    expect(text({ state: 'starting' })).toBe('$(sync~spin) typescript-5m');
    expect(text({ status: { ...idle, activity: 'tuning' }, done: 0.346 })).toBe('$(sync~spin) tuning 35 %');
    expect(text({ status: { ...idle, activity: 'generating' }, done: 0.3 })).toBe('$(sync~spin) generating');
    expect(text({ state: 'failed' })).toBe('$(error) Early Exit');
  });
});
