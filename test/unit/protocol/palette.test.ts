import { describe, expect, it } from 'vitest';
import {
  exitShade,
  palette,
  tokenSource,
  shades,
  tokenShade,
  type Shade,
  type ThemeColours,
} from '../../../protocol/palette.ts';

/** Background, text and comments of VS Code's own themes, and what else they colour in code. */
const themes: Record<keyof ThemeColours, { background: string; text: string; comment: string; others: string[] }> = {
  dark: {
    ...{ background: '#1f1f1f', text: '#cccccc', comment: '#6a9955' },
    others: ['#569cd6', '#ce9178', '#b5cea8', '#dcdcaa', '#4ec9b0', '#9cdcfe', '#c586c0'],
  },
  light: {
    ...{ background: '#ffffff', text: '#3b3b3b', comment: '#008000' },
    others: ['#0000ff', '#a31515', '#098658', '#795e26', '#267f99', '#001080', '#af00db'],
  },
  highContrast: { background: '#000000', text: '#ffffff', comment: '#7ca668', others: ['#569cd6', '#ce9178'] },
  highContrastLight: { background: '#ffffff', text: '#292929', comment: '#515151', others: ['#0f4a85', '#b5200d'] },
};
const kinds = Object.keys(themes) as (keyof ThemeColours)[];
const coloured = shades.filter((shade) => shade !== 'final');

describe('the palette', () => {
  it('keeps text, comments and other code readable in the default themes', () => {
    for (const kind of kinds) {
      const { background, text, comment, others } = themes[kind];
      for (const shade of shades) {
        const behind = over(palette[shade].tint[kind], background);
        const where = `${shade} in ${kind}`;
        expect(contrast(text, behind), `text on ${where}`).toBeGreaterThanOrEqual(7);
        expect(contrast(comment, behind), `comments on ${where}`).toBeGreaterThanOrEqual(4.5);
        for (const other of others) {
          const kept = contrast(other, behind) / contrast(other, background);
          expect(kept, `${other} on ${where}`).toBeGreaterThanOrEqual(7 / 8);
        }
      }
    }
  });

  it('has marks that are read as text on each background, seven to one in high contrast on black', () => {
    for (const kind of kinds) {
      for (const shade of shades) {
        const least = kind === 'highContrast' ? 7 : 4.5;
        const { background } = themes[kind];
        expect(contrast(palette[shade].mark[kind], background), `${shade} in ${kind}`).toBeGreaterThanOrEqual(least);
      }
    }
  });

  it('has colours of the terminal that are visible on black and on white', () => {
    for (const shade of coloured) {
      const colour = terminalColour(palette[shade].terminal!);
      for (const ground of ['#000000', '#ffffff']) {
        expect(contrast(colour, ground), `${shade} on ${ground}`).toBeGreaterThanOrEqual(3);
      }
    }
    expect(palette.final.terminal).toBeNull();
  });

  it('is cool where tokens leave early, warm where late, neutral at the end', () => {
    for (const kind of kinds) {
      const [red, , blue] = channels(palette.exit1.mark[kind]);
      expect(blue).toBeGreaterThan(red);
      const [lateRed, , lateBlue] = channels(palette.exit6.mark[kind]);
      expect(lateRed).toBeGreaterThan(lateBlue);
      expect(new Set(channels(palette.final.mark[kind])).size).toBe(1);
    }
  });
});

describe('the shade of an exit', () => {
  const shadesOf = (exits: string[]): Shade[] => exits.map((exit) => exitShade(exit, exits));

  it('tells every exit from the final one, the deepest of the default exits too', () => {
    expect(shadesOf(['8:lens', '10:lens', '11:lens', 'final'])).toEqual(['exit1', 'exit4', 'exit6', 'final']);
    expect(shadesOf(['8:lens', '10:lens', '11:lens'])).toEqual(['exit1', 'exit4', 'exit6']);
  });

  it('spreads the palette over the exits, and tells up to six apart', () => {
    expect(shadesOf(['3:mlp'])).toEqual(['exit1']);
    expect(shadesOf(['1', '2', '3', '4', '5', '6'])).toEqual(['exit1', 'exit2', 'exit3', 'exit4', 'exit5', 'exit6']);
    const many = Array.from({ length: 11 }, (_, i) => `${i + 1}`);
    expect(exitShade('1', many)).toBe('exit1');
    expect(exitShade('11', many)).toBe('exit6');
  });

  it('is neutral for an exit that the model has not', () => {
    expect(exitShade('3:mlp', ['8:lens', 'final'])).toBe('final');
    expect(exitShade('final', ['final'])).toBe('final');
  });
});

describe('the shade of a token', () => {
  const exits = ['4:lens', '8:lens', 'final'];

  it('is that of the exit where it left', () => {
    expect(tokenShade({ exit: '8:lens' }, exits)).toBe('exit6');
    expect(tokenShade({ exit: '8:lens', draft: { source: 'lookup', accepted: true } }, exits)).toBe('exit6');
    expect(tokenShade({ exit: 'final' }, exits)).toBe('final');
  });

  it('is that of who drafted it rightly, where the final exit confirmed it', () => {
    expect(tokenSource({ exit: 'final', draft: { source: '4:lens', accepted: true } })).toBe('4:lens');
    expect(tokenShade({ exit: 'final', draft: { source: '4:lens', accepted: true } }, exits)).toBe('exit1');
    expect(tokenShade({ exit: 'final', draft: { source: 'lookup', accepted: true } }, exits)).toBe('text');
    expect(tokenShade({ exit: 'final', draft: { source: '4:lens', accepted: false } }, exits)).toBe('final');
  });
});

const channels = (colour: string): [number, number, number] => [
  Number.parseInt(colour.slice(1, 3), 16),
  Number.parseInt(colour.slice(3, 5), 16),
  Number.parseInt(colour.slice(5, 7), 16),
];

/** A colour with alpha, as it looks on an opaque one. */
function over(colour: string, background: string): string {
  const alpha = colour.length === 9 ? Number.parseInt(colour.slice(7), 16) / 255 : 1;
  const behind = channels(background);
  const mixed = channels(colour).map((value, i) => Math.round(alpha * value + (1 - alpha) * behind[i]!));
  return `#${mixed.map((value) => value.toString(16).padStart(2, '0')).join('')}`;
}

/** Relative luminance and contrast of WCAG 2.1. */
function luminance(colour: string): number {
  const [red, green, blue] = channels(colour).map((value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

/** One of the 6 × 6 × 6 colours of xterm, numbered from 16. */
function terminalColour(index: number): string {
  const steps = [0, 95, 135, 175, 215, 255];
  const n = index - 16;
  const parts = [Math.floor(n / 36), Math.floor(n / 6) % 6, n % 6].map((i) => steps[i]!);
  return `#${parts.map((value) => value.toString(16).padStart(2, '0')).join('')}`;
}
