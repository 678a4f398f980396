/** The closed form: on systems with a known answer, and on exits for which a perfect linear answer exists. */
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import '../../../backend/autodiff/gradients.ts';
import { headLogSum } from '../../../backend/exits/fit.ts';
import { initialiseExit } from '../../../backend/exits/initialise.ts';
import type { ExitSpec } from '../../../backend/exits/spec.ts';
import { openModel } from '../../../backend/model/open.ts';
import { listMask, listShares } from '../../../backend/tuning/objective.ts';
import { openFit } from '../../../backend/tuning/fit/exits.ts';
import type { StepBatch } from '../../../backend/features/features.ts';
import { fixtures } from '../../support/golden.ts';
import { plainTeach } from '../../support/teacher.ts';
import { numbers } from '../autodiff/numbers.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

test('what a head gives to a list and to all else, and the log-sum-exp of a head, in chunks', () => {
  const [tokens, hidden, vocabulary] = [5, 3, 7];
  const [state, head, shift] = [numbers(tokens * hidden, 1), numbers(vocabulary * hidden, 2), numbers(vocabulary, 3)];
  const listed = [1, 5];
  const [shares, sums] = tf.tidy(() => {
    const x = tf.tensor(state.slice(), [tokens, hidden]);
    const w = { weight: tf.tensor(head.slice(), [vocabulary, hidden]), bias: tf.tensor(shift.slice(), [vocabulary]) };
    const mask = tf.tensor(listMask(listed, vocabulary), [vocabulary, 2]);
    const shares = listShares(x, { head: w.weight, bias: w.bias }, mask, 1.5, 2);
    return [shares.dataSync(), headLogSum(x, w, null, 2).dataSync()];
  });
  for (let t = 0; t < tokens; t++) {
    const logits = Array.from({ length: vocabulary }, (_, id) =>
      [0, 1, 2].reduce((sum, j) => sum + state[t * hidden + j]! * head[id * hidden + j]!, shift[id]!),
    );
    const sumOf = (ids: number[], cap: (x: number) => number): number =>
      ids.reduce((sum, id) => sum + Math.exp(cap(logits[id]!)), 0);
    const cap = (x: number): number => 1.5 * Math.tanh(x / 1.5);
    const all = sumOf([...logits.keys()], cap);
    expect(shares[2 * t]).toBeCloseTo(Math.log(sumOf([0, 2, 3, 4, 6], cap) / all), 5);
    expect(shares[2 * t + 1]).toBeCloseTo(Math.log(sumOf(listed, cap) / all), 5);
    expect(sums[t]).toBeCloseTo(Math.log(sumOf([...logits.keys()], (x) => x)), 5);
  }
});

describe('a fit', () => {
  const model = openModel(join(fixtures, 'tiny', 'llama-untied'));
  const { spec, parameters } = model;
  const { hidden, vocabulary } = spec;
  const listed = [4, 9, 100];
  const exits: ExitSpec[] = [
    { layer: 1, architecture: 'embedding', head: { kind: 'own' } },
    { layer: 2, architecture: 'lens', head: { kind: 'shared' } },
    { layer: 3, architecture: 'norm', head: { kind: 'shortlist', tokens: listed } },
    { layer: 3, architecture: 'lens', head: { kind: 'shortlist', tokens: listed } },
    { layer: 3, architecture: 'norm', head: { kind: 'shared' } },
  ].map((exit) => exit as ExitSpec);
  // Only distinct exits may share a layer and an architecture.
  const chosen = exits.slice(0, 4);
  const initial = new Map(chosen.flatMap((exit) => [...initialiseExit(spec, exit, parameters, { kind: 'copy' })]));
  const teach = plainTeach(model, chosen);
  const gain = parameters.values('norm.weight');
  const lmHead = parameters.values('lm_head.weight');
  const [batch, tokens] = [4, 40];
  const rotation = numbers(hidden * hidden, 77).map((x) => x / 4);

  function normed(rows: Float32Array): Float32Array {
    return rows.map((x, i) => {
      const begin = Math.floor(i / hidden) * hidden;
      const square = rows.subarray(begin, begin + hidden).reduce((sum, y) => sum + y * y, 0) / hidden;
      return (x / Math.sqrt(square + spec.norm.epsilon)) * gain[i - begin]!;
    });
  }
  const times = (rows: Float32Array, matrix: Float32Array, columns: number): Float32Array => {
    const product = new Float32Array((rows.length / hidden) * columns);
    for (let t = 0; t < rows.length / hidden; t++)
      for (let c = 0; c < columns; c++) {
        let sum = 0;
        for (let j = 0; j < hidden; j++) sum += rows[t * hidden + j]! * matrix[c * hidden + j]!;
        product[t * columns + c] = sum;
      }
    return product;
  };

  /** Features of which the final state is a linear image of each exit's state: layer 1's itself, 2's and 3's normed. */
  function batchOf(seed: number): StepBatch {
    // One constant coordinate, as real streams have: without it no linear row can say a number other than 0 on average.
    const stream = numbers(batch * tokens * hidden, seed).map((x, i) => (i % hidden ? x : 4));
    const state = normed(stream);
    return {
      batch,
      tokens,
      features: new Map([
        ['1.end', state],
        ['2.end', stream],
        ['3.end', stream],
      ]),
      targets: Int32Array.from({ length: batch * tokens }, (_, i) => (i % 5 ? 1 : -1)),
      final: times(state, rotation, hidden),
    };
  }

  test('finds the linear map that there is, and puts it where the exit has a place', async () => {
    const fit = await openFit({
      spec,
      exits: chosen,
      initial,
      model: parameters,
      teach,
      tokens,
    });
    const junk = numbers(batch * tokens * hidden, 5);
    for (let i = 0; i < 3; i++) {
      const good = batchOf(10 + i);
      // Positions without a target do not count, whatever they hold.
      const final = good.final!.map((x, k) => (Math.floor(k / hidden) % 5 ? x : junk[k]!));
      await fit.add({ ...good, final });
    }
    const fitted = await fit.solve();
    await fit.dispose();
    expect([...fitted.keys()].sort()).toEqual([...initial.keys()].sort());

    for (const layer of [2, 3]) {
      const translator = fitted.get(`exits.${layer}.lens.translator.weight`)!;
      rotation.forEach((value, i) => expect(translator[i]).toBeCloseTo(value, 3));
    }
    const test = batchOf(20);
    const state = normed(test.features.get('2.end')!);
    const logits = times(test.final!, lmHead, vocabulary);
    const close = (a: Float32Array, b: Float32Array): void => {
      const scale = Math.sqrt(b.reduce((sum, x) => sum + x * x, 0) / b.length);
      a.forEach((value, i) => expect(Math.abs(value - b[i]!) / scale).toBeLessThan(5e-3));
    };
    close(times(state, fitted.get('exits.1.embedding.head.weight')!, vocabulary), logits);
    const short = logits.filter((_, i) => listed.includes(i % vocabulary));
    const classes = listed.length + 1;
    const head = fitted.get('exits.3.norm.head.weight')!;
    close(
      times(state, head, classes).filter((_, i) => i % classes < listed.length),
      short,
    );
    // A lens folds nothing into its head.
    const lensHead = fitted.get('exits.3.lens.head.weight')!;
    expect(lensHead.slice(0, -hidden)).toEqual(initial.get('exits.3.lens.head.weight')!.slice(0, -hidden));
    // On the text of the fit, the log odds of defer are nearer to the model's than a copy's are, or even ones.
    const seen = batchOf(10);
    const seenState = normed(seen.features.get('3.end')!);
    const oddsOf = (row: Float32Array, isListed: (id: number) => boolean): number => {
      const sum = (wanted: boolean): number =>
        row.reduce((all, x, id) => all + (isListed(id) === wanted ? Math.exp(x) : 0), 0);
      return Math.log(sum(false) / sum(true));
    };
    const seenLogits = times(seen.final!, lmHead, vocabulary);
    const squares = (weights: Float32Array | null, state = seenState): number => {
      const guesses = weights && times(state, weights, classes);
      let sum = 0;
      for (let t = 0; t < batch * tokens; t++) {
        if (t % 5 === 0) continue;
        const wanted = oddsOf(seenLogits.subarray(t * vocabulary, (t + 1) * vocabulary), (id) => listed.includes(id));
        const guess = guesses ? oddsOf(guesses.subarray(t * classes, (t + 1) * classes), (c) => c < listed.length) : 0;
        sum += (guess - wanted) ** 2;
      }
      return sum;
    };
    for (const error of [squares(head), squares(lensHead, times(seenState, rotation, hidden))]) {
      expect(error).toBeLessThan(0.9 * squares(null));
      expect(error).toBeLessThan(0.9 * squares(initial.get('exits.3.norm.head.weight')!));
    }
  });

  test('leaves an exit with nowhere to put it as it was', async () => {
    const shared = exits.slice(4);
    const copy = initialiseExit(spec, shared[0]!, parameters, { kind: 'copy' });
    const fit = await openFit({ spec, exits: shared, initial: copy, model: parameters, teach, tokens });
    expect(await fit.solve()).toEqual(copy);
    await fit.add(batchOf(1));
    expect(await fit.solve()).toEqual(copy);
    await fit.dispose();
  });

  test('without tokens is the copies', async () => {
    const fit = await openFit({ spec, exits: chosen, initial, model: parameters, teach, tokens });
    expect(await fit.solve()).toEqual(initial);
    await fit.dispose();
  });

  test('needs the final state', async () => {
    const fit = await openFit({ spec, exits: chosen, initial, model: parameters, teach, tokens });
    await expect(fit.add({ ...batchOf(1), final: null })).rejects.toThrow('final state');
    await fit.dispose();
  });
});
