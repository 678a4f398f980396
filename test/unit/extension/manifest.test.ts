import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Option } from '../../../protocol/options/kinds.ts';
import { optionTables, settingName } from '../../../protocol/options/options.ts';
import { texts } from '../../../scripts/texts.ts';
import { commandKeys, commands } from '../../../extension/commands.ts';
import { activationEvents, capabilities, contributions } from '../../../extension/contributions.ts';
import { restrictedSettings } from '../../../extension/settings/restricted-settings.ts';

const root = path.resolve(import.meta.dirname, '../../..');
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Record<string, unknown>;
const contributed = contributions();

describe('the manifest', () => {
  it('is what the tables of commands and options say (npx tsx scripts/manifest.ts writes it)', () => {
    expect(manifest.contributes).toEqual(JSON.parse(JSON.stringify(contributed)));
    expect(manifest.activationEvents).toEqual(activationEvents);
    expect(manifest.capabilities).toEqual(capabilities);
    expect(manifest.main).toBe('./dist/extension.cjs');
  });

  it('is activated with the window: completions and interrupted runs wait for no command', () => {
    expect(activationEvents).toContain('onStartupFinished');
  });

  it('has every text of the extension ready for translation', () => {
    const bundle = JSON.parse(readFileSync(path.join(root, 'l10n/bundle.l10n.json'), 'utf8')) as unknown;
    expect(bundle).toEqual(texts(root));
    expect(bundle).toHaveProperty(['Loss Curves']);
    expect(bundle).toHaveProperty(['final exit']);
    // Said in a folder below.
    expect(bundle).toHaveProperty(['Show Exits']);
    expect(manifest.l10n).toBe('./l10n');
  });

  it('gives every setting a type, a default, a description, an order and a scope', () => {
    const groups = contributed.configuration as { properties: Record<string, Record<string, unknown>> }[];
    const settings = groups.flatMap(({ properties }) => Object.entries(properties));
    expect(settings.length).toBeGreaterThan(50);
    const orders = settings.map(([, { order }]) => order);
    expect(orders).toEqual(orders.map((_, i) => i));
    for (const [name, setting] of settings) {
      expect(name).toMatch(/^earlyExit\.[\w.]+$/);
      expect(setting, name).toHaveProperty('type');
      expect(setting, name).toHaveProperty('default');
      expect(setting.markdownDescription, name).toMatch(/\.$/);
      expect(['window', 'resource', 'machine-overridable'], name).toContain(setting.scope);
      if (setting.enum) expect(setting.enumDescriptions, name).toHaveLength((setting.enum as unknown[]).length);
    }
    for (const name of restrictedSettings) expect(settings.map(([each]) => each)).toContain(name);
  });

  it('has its advanced settings in categories of their own, and no empty category', () => {
    type Category = { title: string; properties: Record<string, { tags?: string[] }> };
    for (const { title, properties } of contributed.configuration as Category[]) {
      const settings = Object.values(properties);
      expect(settings.length, title).toBeGreaterThan(0);
      const advanced = settings.filter(({ tags }) => tags?.includes('advanced') ?? false);
      expect(advanced.length, title).toBe(title.endsWith(', advanced') ? settings.length : 0);
    }
  });

  it('has no setting that nothing in the editor reads', () => {
    const commands = [optionTables.tune, optionTables.generate, optionTables.serve];
    const read = commands.flatMap((table) => Object.entries<Option<unknown>>(table).map(([n, o]) => settingName(o, n)));
    const groups = contributed.configuration as { properties: Record<string, unknown> }[];
    const settings = groups.flatMap(({ properties }) => Object.keys(properties));
    const own = /^earlyExit\.(completions|display|backend)\./;
    expect(settings.filter((name) => !own.test(name) && !read.includes(name))).toEqual([]);
  });

  it('names files that exist', () => {
    const text = JSON.stringify(contributed);
    const files = [...text.matchAll(/"(?:\.\/)?((?:extension|syntaxes|docs)\/[\w./-]+)"/g)].map((match) => match[1]!);
    expect(files.length).toBeGreaterThan(8);
    expect(files.filter((file) => !existsSync(path.join(root, file)))).toEqual([]);
  });

  it('has commands where they do something: no text to save or clear in a trace file, and a paused run to stop', () => {
    type Entry = { command: string; enablement?: string; when?: string };
    const { commands: all, menus } = contributed as unknown as { commands: Entry[]; menus: Record<string, Entry[]> };
    for (const name of ['saveTrace', 'clearTraces'])
      for (const clause of [
        all.find(({ command }) => command === `earlyExit.${name}`)?.enablement,
        menus['editor/context']!.find(({ command }) => command === `earlyExit.${name}`)?.when,
      ])
        expect(clause, name).toBe('earlyExit.hasTrace && editorLangId != exittrace');
    expect(all.find(({ command }) => command === 'earlyExit.stopRun')).not.toHaveProperty('enablement');
    const stop = menus['view/item/context']!.find(({ command }) => command === 'earlyExit.stopRun')!;
    const rows = new RegExp(/=~ \/(.*)\/$/.exec(stop.when!)![1]!);
    const states = ['running', 'paused', 'stopped', 'finished', 'failed'];
    expect(states.filter((state) => rows.test(`run.${state}`))).toEqual(['running', 'paused']);
  });

  it('has keys on Windows that type no letters there: Ctrl+Alt is AltGr', () => {
    const { keybindings } = contributed as unknown as { keybindings: { key: string; win?: string }[] };
    const first = keybindings.map(({ key, win = key }) => win.split(' ')[0]);
    expect(first.filter((keys) => keys!.includes('ctrl+alt'))).toEqual([]);
  });

  it('mentions only commands that there are', () => {
    const known = new Set(commandKeys.map((key) => `earlyExit.${key}`));
    const mentioned = [...JSON.stringify(contributed).matchAll(/command(?:"|)?:(?:"|)(earlyExit\.\w+)/g)].map(
      (match) => match[1]!,
    );
    expect(mentioned.length).toBeGreaterThan(commandKeys.length);
    expect(mentioned.filter((command) => !known.has(command))).toEqual([]);
    for (const { title } of Object.values(commands)) expect(title).toMatch(/^[A-Z]/);
  });
});
