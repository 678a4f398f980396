import { homedir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { belongsTo, fileInFolder, modelFor, modelTitle, typedModel, withChosen } from '../../../../extension/models/choices.ts';
import type { ModelSummary } from '../../../../protocol/server.ts';

const models: ModelSummary[] = [
  { path: '/ext/models/typescript-5m', name: 'typescript-5m', kind: 'shipped' },
  { path: '/w/m/small.gguf', name: 'small.gguf', kind: 'gguf' },
];

describe('model and exits', () => {
  it('belong together by the name that the checkpoint recorded', () => {
    expect(belongsTo({ model: 'small.gguf' }, '/w/m/small.gguf')).toBe(true);
    expect(belongsTo({ model: 'SmolLM2' }, 'HuggingFaceTB/SmolLM2/')).toBe(true);
    const hub = 'Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:qwen2.5-coder-0.5b-instruct-q8_0.gguf';
    expect(belongsTo({ model: 'qwen2.5-coder-0.5b-instruct-q8_0.gguf' }, hub)).toBe(true);
    expect(belongsTo({ model: 'SmolLM2' }, 'HuggingFaceTB/SmolLM2@v1.0')).toBe(true);
    expect(belongsTo({ model: 'q8_0.gguf' }, 'owner/name@v1:parts/q8_0.gguf')).toBe(true);
    expect(modelTitle(hub)).toBe('qwen2.5-coder-0.5b-instruct-q8_0');
    expect(belongsTo({ model: 'typescript-5m' }, 'C:\\m\\small.gguf')).toBe(false);
    expect(belongsTo({ model: '' }, 'typescript-5m')).toBe(true);
  });

  it('are chosen together: exits bring the model of their name, or none', () => {
    expect(modelFor({ model: 'small.gguf' }, 'typescript-5m', models)).toBe('/w/m/small.gguf');
    expect(modelFor({ model: 'typescript-5m' }, '/w/m/small.gguf', models)).toBe('typescript-5m');
    expect(modelFor({ model: 'small.gguf' }, '/elsewhere/small.gguf', models)).toBe('/elsewhere/small.gguf');
    expect(modelFor({ model: 'gone' }, 'typescript-5m', models)).toBeNull();
  });
});

describe('the list of models', () => {
  it('shows the chosen one also where it comes from elsewhere', () => {
    expect(withChosen(models, 'typescript-5m')).toEqual(models);
    expect(withChosen(models, '/w/m/small.gguf')).toEqual(models);
    expect(withChosen(models, '/d/other')[0]).toEqual({ path: '/d/other', name: 'other', kind: 'path' });
    expect(withChosen(models, 'owner/name:m.gguf')[0]).toMatchObject({ name: 'm.gguf', kind: 'hub' });
    expect(withChosen(models, 'owner/name')[0]).toEqual({ path: 'owner/name', name: 'name', kind: 'hub' });
  });
});

it('a file of a cache is listed by its own name, its folder apart', () => {
  expect(fileInFolder('Qwen/Qwen2.5-Coder-0.5B-GGUF/q8_0.gguf')).toEqual({
    label: 'q8_0.gguf',
    folder: 'Qwen/Qwen2.5-Coder-0.5B-GGUF',
  });
  for (const name of ['owner/name', 'qwen2.5-coder:0.5b', 'model.gguf'])
    expect(fileInFolder(name)).toEqual({ label: name, folder: '' });
});

describe('a text in the pick', () => {
  it('names a path or a hub id, quoted or as an address too', () => {
    expect(typedModel(' "/a b/m.gguf" ')).toEqual({ path: '/a b/m.gguf', name: 'm.gguf', kind: 'path' });
    expect(typedModel('~/m.gguf')?.path).toBe(`${homedir()}/m.gguf`);
    expect(typedModel('./models/m')).toEqual({ path: './models/m', name: 'm', kind: 'path' });
    expect(typedModel('D:\\models\\m')?.kind).toBe('path');
    expect(typedModel('models/m.gguf')?.kind).toBe('path');
    expect(typedModel('Qwen/Qwen2.5-Coder-0.5B')).toEqual({
      ...{ path: 'Qwen/Qwen2.5-Coder-0.5B', name: 'Qwen2.5-Coder-0.5B', kind: 'hub' },
    });
    expect(typedModel('https://huggingface.co/Qwen/Qwen2.5')?.path).toBe('Qwen/Qwen2.5');
    const file = { path: 'Qwen/Qwen2.5-GGUF:q8_0.gguf', name: 'q8_0.gguf', kind: 'hub' };
    expect(typedModel('Qwen/Qwen2.5-GGUF:q8_0.gguf')).toEqual(file);
    expect(typedModel('huggingface.co/Qwen/Qwen2.5-GGUF:q8_0.gguf')).toEqual(file);
  });

  it('names nothing while it only filters the list', () => {
    for (const text of ['', 'qwen', 'small model', '/', 'a/b/c']) expect(typedModel(text), text).toBeNull();
  });
});
