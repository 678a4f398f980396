/** Our parameters in the tensors of a model's own files, for every family: what is taken is what reading gives, and what is given goes if it was taken. */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { dequantise } from '../../../backend/formats/dequantise.ts';
import { elementCount } from '../../../backend/formats/safetensors.ts';
import { expectedParameters } from '../../../backend/model/expected-parameters.ts';
import { openModel } from '../../../backend/model/open.ts';
import { parameterPlaces } from '../../../backend/model/sources.ts';
import { giveParameter, takeParameter } from '../../../backend/model/stored-values.ts';
import { fixtures, isMixture } from '../../support/golden.ts';

const tiny = path.join(fixtures, 'tiny');
const families = fs.readdirSync(tiny).filter((family) => !isMixture(family));

describe.each(families)('the parameters of %s', (family) => {
  const model = openModel(path.join(tiny, family));
  const { parameters, spec, stored } = model;
  const names = expectedParameters(spec)
    .map(({ name }) => name)
    .filter((name) => parameters.has(name));
  const places = parameterPlaces(model.path, names);
  const source = stored.tensors;
  const values = new Map(
    [...source.tensors.values()].map((tensor) => [
      tensor.name,
      dequantise(tensor.type, source.read(tensor), elementCount(tensor.shape)),
    ]),
  );

  it('are taken as they are read', () => {
    expect(Object.keys(places).sort()).toEqual([...names].sort());
    for (const name of names)
      expect(bits(takeParameter(places[name]!, parameters.shape(name), values)), name).toBe(
        bits(parameters.values(name)),
      );
  });

  it('are given to the places that they are taken from', () => {
    // Σ taken · g = Σ stored · given(g), for numbers g of no order: giving is the transpose of taking.
    for (const [n, name] of names.entries()) {
      const place = places[name]!;
      const taken = takeParameter(place, parameters.shape(name), values);
      const numbers = Float32Array.from(taken, (_, i) => Math.fround(Math.sin(i + n)));
      const zeros = new Map(place.tensors.map((tensor) => [tensor, new Float32Array(values.get(tensor)!.length)]));
      giveParameter(place, parameters.shape(name), numbers, zeros);
      const left = taken.reduce((sum, value, i) => sum + value * numbers[i]!, 0);
      let right = 0;
      for (const [tensor, given] of zeros) values.get(tensor)!.forEach((value, i) => (right += value * given[i]!));
      expect(right, name).toBeCloseTo(left, 6);
      // Twice is twice: what several parameters share is added up.
      giveParameter(place, parameters.shape(name), numbers, zeros);
      const count = [...zeros.values()].flatMap((given) => [...given]).filter((value) => value !== 0).length;
      expect(count, name).toBe(numbers.filter((value) => value !== 0).length);
    }
  });
});

const bits = (values: Float32Array): string => createHash('sha256').update(values).digest('hex');
