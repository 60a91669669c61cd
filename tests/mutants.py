"""Bugs, planted one at a time: which the suite catches.

    python -m tests.mutants                     # all, by the suite here
    python -m tests.mutants --tests-of COMMIT   # by the tests of another commit
    python -m tests.mutants "a name" --whole    # one; survivors meet the gate

Each is a line of the package as someone could have written it. The tests that
know the module run first and stop at the first failure; with `--whole`, what
passes them meets the whole gate.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
GATE = "not slow and not gpu"
SECONDS = 900  # A program that never compiles is caught by this.


class Mutant(NamedTuple):
    """`old`, which is in the file once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: str
    # What Keras is set to, to find it.
    backend: str = "tensorflow"


LAWS = "tests/ops/test_gumbel_softmax.py tests/properties"
RULES = "tests/estimators"
PAIR = "tests/ops/test_gumbel_top_k.py tests/properties"
SIZES_OF_ROWS = "tests/ops/test_k_of_rows.py"
POISSON = "tests/ops/test_conditional_poisson.py"
GATES = "tests/ops/test_gumbel_sigmoid.py tests/properties"
L0 = "tests/ops/test_hard_concrete.py tests/layers/test_hard_concrete_gate.py"
WIDE = "tests/ops/test_rectangular_matching.py"
MATCHING = "tests/ops/test_linear_assignment.py"
SQUARE = "tests/ops/test_gumbel_sinkhorn.py tests/properties"
ORDER = "tests/ops/test_gumbel_sort.py tests/properties"
CELLS = "tests/ops/test_cells.py"
MANY = "tests/ops/test_num_samples.py"
NOISE = "tests/ops/test_noise.py"
TABLE = "tests/ops/test_sample_embedding.py tests/layers"
LAYERS = "tests/layers tests/conformance"
SIZES = "tests/ops/test_any_size.py tests/conformance/test_any_size.py"
DENSITIES = "tests/distributions"
KL = "tests/test_losses.py tests/test_bernoulli_kl.py"
CALLBACKS = "tests/callbacks"
METRICS = "tests/metrics"
JAX = "tests/jax/test_transformations.py"
REPORTS = "tests/diagnostics/test_temperature_report.py"
VECTORS = "tests/layers/test_vector_quantizer.py"
SCALARS = "tests/layers/test_finite_scalar_quantizer.py"
PORTABLE = "tests/test_portable_noise.py"
SEEDED = "tests/export/test_seed_input.py"
SYMBOLIC = "tests/conformance/test_symbolic_calls.py"

MUTANTS = (
    # The mathematics.
    Mutant(
        "noise of the wrong sign",
        "numerics/noise.py",
        "return logarithms.minus_log(exponential(shape, key, dtype, start))",
        "return -logarithms.minus_log(exponential(shape, key, dtype, start))",
        f"{NOISE} {LAWS}",
    ),
    Mutant(
        "a tail cut at 16.6",
        "numerics/noise.py",
        "    t = random_unit(shape, key, dtype, start)\n"
        "    return logarithms.exponential(t)\n",
        "    t = random_unit(shape, key, dtype, start)\n"
        "    return ops.maximum(logarithms.exponential(t), 6e-8)\n",
        NOISE,
    ),
    Mutant(
        "one sign of the logistic noise too rare",
        "numerics/noise.py",
        "return ops.where(negative, -size, size)\n",
        "return ops.where(negative & (size < 3), -size, size)\n",
        f"tests/ops/test_logistic_noise.py {GATES}",
    ),
    Mutant(
        "the noise scale squared",
        "numerics/noise.py",
        "return then(x + draw.noise_scale * drawn)",
        "return then(x + draw.noise_scale * draw.noise_scale * drawn)",
        LAWS,
    ),
    Mutant(
        "rows far from 0 stay there",
        "numerics/offsets.py",
        "_FAR = 2.0**8",
        "_FAR = 2.0**80",
        "tests/properties tests/ops",
    ),
    Mutant(
        "rows near 0 are moved, and lose their bits",
        "numerics/offsets.py",
        'limit = ops.where(scale == 0.0, float("inf"), times * scale)',
        "limit = 0.0 * scale",
        "tests/ops/test_offsets.py tests/properties",
    ),
    Mutant(
        "a row without a class gives NaN",
        "numerics/softmax.py",
        "keepdims=True)\n    return ops.where(total == 0.0, 1.0, total)\n",
        "keepdims=True)\n    return total\n",
        LAWS,
    ),
    Mutant(
        "an infinite gradient beside a 0 gives NaN",
        "numerics/softmax.py",
        "    live = weight != 0.0\n"
        "    weighted = ops.where(live, weight * dy, 0.0)\n",
        "    live = weight != 0.0\n    weighted = weight * dy\n",
        LAWS,
    ),
    Mutant(
        "the slope of the softmax without its mean",
        "numerics/softmax.py",
        "dx = ops.where(live, weight * (dy - mean), 0.0)",
        "dx = ops.where(live, weight * dy + 0.0 * mean, 0.0)",
        LAWS,
    ),
    Mutant(
        "the temperature's gradient of the wrong sign",
        "numerics/softmax.py",
        "return dx, -dx * gap / temperature",
        "return dx, dx * gap / temperature",
        LAWS,
    ),
    Mutant(
        "the temperature's gradient summed over one axis too few",
        "backend/tensorflow/tensors.py",
        "return tf.reshape(tf.reduce_sum(x, axes), shape)",
        "return tf.reshape(tf.reduce_mean(x, axes), shape)",
        LAWS,
    ),
    Mutant(
        "half precision within",
        "numerics/dtypes.py",
        "return ops.cast(logits, wide_dtype(logits))",
        'return ops.cast(ops.cast(logits, "bfloat16"), wide_dtype(logits))',
        "tests/properties tests/ops/test_gumbel_softmax.py",
    ),
    Mutant(
        "the conditional noise ignores its choice",
        "numerics/conditional.py",
        "x = ops.where(classes(logits, axis) == choice, 0.0, x)",
        "x = ops.where(classes(logits, axis) == 0, 0.0, x)",
        RULES,
    ),
    Mutant(
        "every conditional draw the same",
        "numerics/conditional.py",
        "e = _exponential_like(logits, draw, 2 * number + 1)",
        "e = _exponential_like(logits, draw, 2 * (number * 0) + 1)",
        RULES,
    ),
    Mutant(
        "a logarithm of seven digits becomes one of three",
        "numerics/logarithms.py",
        "    0.3068492430,",
        "    0.3070492430,",
        NOISE,
    ),
    # Choices.
    Mutant(
        "of ties the last",
        "numerics/categorical.py",
        "    candidate = ops.where(x == peak, numerics.classes(x, axis), "
        "_BEYOND)\n"
        "    return peak, backend.min(\n"
        "        candidate, axis=axis, keepdims=True, initial=_BEYOND\n",
        "    candidate = ops.where(x == peak, numerics.classes(x, axis), -1)\n"
        "    return peak, backend.max(\n"
        "        candidate, axis=axis, keepdims=True, initial=-1\n",
        "tests/test_choices.py tests/ops",
    ),
    Mutant(
        "the runs of a long row are counted wrongly",
        "numerics/categorical.py",
        "    first = which * run + where\n",
        "    first = which * run + ops.minimum(where, run - 2)\n",
        "tests/test_formulas.py tests/test_choices.py",
    ),
    Mutant(
        "NaN is a class",
        "numerics/categorical.py",
        'return ops.where(peak == float("inf"), -1, first)',
        "return first",
        "tests/test_choices.py tests/ops/test_gumbel_softmax.py",
    ),
    Mutant(
        "the last class is never drawn",
        "numerics/categorical.py",
        "_BELOW_ONE = 1 - 2.0**-52",
        "_BELOW_ONE = 1 - 2.0**-4",
        f"tests/test_choices.py {RULES}",
    ),
    Mutant(
        "a table's gradient in half precision",
        "numerics/categorical.py",
        "size, wide = ops.shape(table)[0], numerics.widen(d_rows)",
        "size, wide = ops.shape(table)[0], d_rows",
        "tests/test_accumulation.py tests/ops tests/layers",
    ),
    Mutant(
        "no choice is the first row",
        "numerics/categorical.py",
        "    rows = ops.where((choice == size)[:, None], 0.0, rows)\n",
        "",
        TABLE,
    ),
    # Estimators.
    Mutant(
        "ReinMax without its second term",
        "estimators/reinmax.py",
        "gradient = gradient - p * ((dy - mean_p) / (2 * total_p * scale))\n",
        "gradient = gradient - 0.0 * p * mean_p * total_p\n",
        RULES,
    ),
    Mutant(
        "ReinMax of gates: a slope of the other state",
        "estimators/reinmax.py",
        "x = ops.where(perturbed > 0, -logits, logits)",
        "x = ops.where(perturbed > 0, logits, -logits)",
        RULES,
    ),
    Mutant(
        "the gap of gapped_st half as wide",
        "estimators/gapped_straight_through.py",
        "            return self.gap * draw.noise_scale\n        axis, scale",
        "            return 0.5 * self.gap * draw.noise_scale\n"
        "        axis, scale",
        RULES,
    ),
    Mutant(
        "gumbel_rao is the sum of its draws",
        "estimators/gumbel_rao.py",
        "        return d_logits / self.num_samples, parts / self.num_samples\n"
        "\n    def backward_binary",
        "        return d_logits, parts\n\n    def backward_binary",
        RULES,
    ),
    Mutant(
        "an estimator of a user's forgets the scale",
        "estimators/estimator.py",
        "        found = self.backward(\n"
        "            draw.of_scale_one(), kept / s, choice, temperature / s, "
        "dy\n        )\n        return found[0] / s, found[1] / s",
        "        found = self.backward(\n"
        "            draw.of_scale_one(), kept / s, choice, temperature / s, "
        "dy\n        )\n        return found[0], found[1] / s",
        RULES,
    ),
    Mutant(
        "a baseline that saw its own sample",
        "estimators/score_function.py",
        "axis=0) / (count - 1.0)",
        "axis=0) / count",
        RULES,
    ),
    Mutant(
        "a class that is left out is still to be had",
        "estimators/without_replacement.py",
        "        own = ops.where(self._out, nothing, own[..., None, :])\n",
        "        own = ops.where(self._out & False, nothing, "
        "own[..., None, :])\n",
        RULES,
    ),
    Mutant(
        "a baseline of classes with their own ratios",
        "estimators/without_replacement.py",
        "    return ops.exp(alone - whole), ops.exp(pairs)\n",
        "    return ops.exp(alone - whole), ops.exp(0.0 * pairs)\n",
        RULES,
    ),
    # Gates, subsets, permutations, tables.
    Mutant(
        "gates: dy is not scaled by the temperature",
        "numerics/elementwise.py",
        "dx = scaled(y * (1.0 - y) / temperature, dy)",
        "dx = scaled(y * (1.0 - y), dy)",
        GATES,
    ),
    Mutant(
        "a gate that is clipped has a gradient",
        "ops/hard_concrete.py",
        "clipped = (z <= 0) | (z >= 1)",
        "clipped = z <= 0",
        L0,
    ),
    Mutant(
        "the open probability without the stretch",
        "ops/hard_concrete.py",
        "x = log_alpha - temperature * math.log(-stretch[0] / stretch[1])",
        "x = log_alpha - 0.0 * temperature",
        L0,
    ),
    Mutant(
        "a subset in the order of the classes",
        "numerics/top_k.py",
        "    none = bad | ~taken | (values == FORBIDDEN)\n",
        "    classes = ops.sort(classes, axis=1)\n"
        "    none = bad | ~taken | (values == FORBIDDEN)\n",
        PAIR,
    ),
    Mutant(
        "a row has one class more than its k",
        "numerics/top_k.py",
        "taken = numerics.classes(values, 1) < k",
        "taken = numerics.classes(values, 1) <= k",
        SIZES_OF_ROWS,
    ),
    Mutant(
        "the relaxation goes on behind the k of the row",
        "numerics/top_k.py",
        "return backend.minimum(ops.sum(allowed, axis=1, keepdims=True), k)",
        "return ops.sum(allowed, axis=1, keepdims=True) + 0 * k",
        SIZES_OF_ROWS,
    ),
    Mutant(
        "a k out of range is no class",
        "ops/gumbel_top_k.py",
        'return ops.where(k < 0, float("inf"), x)',
        "return x",
        SIZES_OF_ROWS,
    ),
    Mutant(
        "the last class of a subset knows nothing of the others",
        "numerics/conditional_poisson.py",
        "higher = total - _after(total - level)",
        "higher = total - 0.9 * _after(total - level)",
        POISSON,
    ),
    Mutant(
        "the covariance lacks the classes behind",
        "numerics/conditional_poisson.py",
        "visit * (before + v - total) + behind)",
        "visit * (before + v - total))",
        POISSON,
    ),
    Mutant(
        "a class that was drawn counts for the next",
        "numerics/conditional_poisson.py",
        "return left - taken, taken",
        "return left - 0 * taken, taken",
        POISSON,
    ),
    Mutant(
        "a subset by numbers that are not uniform",
        "ops/_conditional_poisson.py",
        "        unit = ops.reshape(unit, shape)\n",
        "        unit = ops.reshape(unit, shape)\n"
        "        unit = ops.roll(unit, 1, 0) * 0.5 + unit * 0.5\n",
        POISSON,
    ),
    Mutant(
        "a call's k is not asked at inference",
        "layers/gumbel_top_k.py",
        "            temperature=temperature,\n"
        "            **self._sizes(k),\n"
        "            hard=hard,\n",
        "            temperature=temperature,\n"
        "            **self._sizes(None),\n"
        "            hard=hard,\n",
        "tests/layers/test_gumbel_top_k.py",
    ),
    Mutant(
        "the smallest score first",
        "numerics/sorting.py",
        "    key = -x if descending else x\n",
        "    key = x if descending else -x\n",
        ORDER,
    ),
    Mutant(
        "noise of one entry at another in an order",
        "numerics/sorting.py",
        "        z = backend.take_along_axis(x, order, axis=1)\n",
        "        z = backend.take_along_axis(x, ops.flip(order, 1), axis=1)\n",
        ORDER,
    ),
    Mutant(
        "a slope of a soft order by the entry alone, not by its place",
        "numerics/sorting.py",
        "    return ops.sum(step, axis=1) - own, ops.sum(parts, axis=1)\n",
        "    return ops.sum(step, axis=1), ops.sum(parts, axis=1)\n",
        ORDER,
    ),
    Mutant(
        "a sum of weights stops a round early",
        "numerics/sorting.py",
        "backend.loop(_doublings(size), double, (both,))",
        "backend.loop(_doublings(size) - 1, double, (both,))",
        ORDER,
    ),
    Mutant(
        "sorted scores with noise in them",
        "ops/_sorting.py",
        "        scores = rows.of(draw.logits())\n",
        "        scores = finite\n",
        ORDER,
    ),
    Mutant(
        "rows of Sinkhorn before columns, the last first",
        "numerics/sinkhorn.py",
        "            (path.column, log_rows, down),\n"
        "            (path.row, log_columns, across),\n",
        "            (path.row, log_columns, across),\n"
        "            (path.column, log_rows, down),\n",
        SQUARE,
    ),
    Mutant(
        "Sinkhorn stops an iteration early",
        "numerics/sinkhorn.py",
        "    return backend.loop(num_iterations, step,",
        "    return backend.loop(num_iterations - 1, step,",
        SQUARE,
    ),
    Mutant(
        "an assignment that only looks good",
        "numerics/prices.py",
        "ops.where(start.free(costs), second - nearest[..., 0], -1.0)\n",
        "ops.where(\n"
        "        start.free(costs), second - nearest[..., 0] + 1.0, -1.0\n"
        "    )\n",
        f"{MATCHING} {SQUARE}",
    ),
    Mutant(
        "an order that is taken for the best one",
        "numerics/prices.py",
        "    owner = ops.where(here - price <= nearest, rows, NONE)\n",
        "    owner = ops.where(here - price <= nearest + 1.0, rows, NONE)\n",
        MATCHING,
    ),
    Mutant(
        "prices beside which costs have lost their digits",
        "numerics/assignment.py",
        "_GROWTH = 2.0**10\n",
        "_GROWTH = 2.0**1000\n",
        MATCHING,
    ),
    Mutant(
        "a column that may stay empty is cheaper than another",
        "numerics/assignment.py",
        "        start = by_bids(costs, ops.zeros_like(lowest))\n",
        "        start = by_bids(costs, lowest)\n",
        f"{WIDE} {MATCHING}",
    ),
    Mutant(
        "one row of zeros for all columns that stay empty",
        "numerics/sinkhorn.py",
        "    return Sums(sums.peak, sums.total / matrices.weight)\n",
        "    return Sums(sums.peak, sums.total)\n",
        WIDE,
    ),
    Mutant(
        "a slope of many rows as of one",
        "numerics/sinkhorn.py",
        "                share = share / weight\n",
        "                share = share * 1.0\n",
        WIDE,
    ),
    Mutant(
        "columns moved though some stay empty",
        "ops/gumbel_sinkhorn.py",
        'numerics.near_matrices(ops.cast(x, "float64"), noise_scale, wide)',
        'numerics.near_matrices(ops.cast(x, "float64"), noise_scale)',
        WIDE,
    ),
    Mutant(
        "coordinates of a cell in the reverse order",
        "ops/_cells.py",
        "        return ops.stack(found[::-1], axis=-1)\n",
        "        return ops.stack(found, axis=-1)\n",
        CELLS,
    ),
    Mutant(
        "cells back in the order of the rest before the axes",
        "ops/_cells.py",
        "[more + order.index(axis) for axis in sorted(order)]",
        "[more + axis for axis in order]",
        CELLS,
    ),
    Mutant(
        "one number for all samples of a row",
        "numerics/categorical.py",
        'numerics.random_unit((rows, count), draw.key, "float64", start)',
        "ops.repeat(numerics.random_unit((rows, 1), draw.key, "
        '"float64", start), count, axis=1)',
        MANY,
    ),
    Mutant(
        "the gradient of the mean of several samples, not of all",
        "ops/_several.py",
        "        return tuple(ops.sum(one, axis=1) for one in found)\n",
        "        return tuple(ops.mean(one, axis=1) for one in found)\n",
        MANY,
    ),
    # Sizes.
    Mutant(
        "places by the number of classes that a program has",
        "numerics/noise.py",
        "            true = 1 if one else self.sizes[axis - 1]\n",
        "            true = 1 if one else size\n",
        SIZES,
    ),
    Mutant(
        "a place of 32 bits",
        "backend/threefry.py",
        'ops.cast(ops.right_shift(x, 32), "int32")',
        'ops.cast(0 * x, "int32")',
        "tests/test_threefry.py",
    ),
    Mutant(
        "a row more reaches a sum over rows",
        "backend/tensorflow/shapes.py",
        "        return tf.raw_ops.Slice(input=x, begin=begin, size=size)\n",
        "        y = tf.raw_ops.Slice(input=x, begin=begin, size=size)\n"
        "        return y + tf.cast(tf.size(x) - tf.size(y), y.dtype)\n",
        SIZES,
    ),
    Mutant(
        "one program for one-hots and for indices",
        "ops/gumbel_softmax.py",
        "    index: bool\n",
        "    index: bool = dataclasses.field(compare=False)\n",
        "tests/layers tests/ops/test_any_size.py",
    ),
    Mutant(
        "a NaN on purpose is found where users look for theirs",
        "numerics/masking.py",
        "@backend.unchecked\ndef nan_unless(",
        "def nan_unless(",
        "tests/conformance/test_check_numerics.py",
    ),
    Mutant(
        "a mask of each row and one for all share a program",
        "ops/_program.py",
        "*(tuple(n == 1 for n in backend.static_shape(x)) for x in tensors)",
        "*(len(x.shape) for x in tensors)",
        "tests/ops/test_sample_embedding.py",
    ),
    Mutant(
        "rows that were added are not taken away",
        "ops/_ladder.py",
        "        size = [shape[0], *own, *shape[2:]]\n",
        "        size = [-1, *own, *shape[2:]]\n",
        SIZES,
    ),
    Mutant(
        "classes that were added may be chosen",
        "ops/_ladder.py",
        "backend.enlarged(rows.logits, goal, numerics.FORBIDDEN)",
        "backend.enlarged(rows.logits, goal, 0.0)",
        SIZES,
    ),
    Mutant(
        "a mean over noise that counts places among what was added",
        "estimators/gumbel_rao.py",
        "    sizes = () if draw.sizes is None else (draw.sizes,)\n",
        "    sizes = ()\n",
        SIZES,
    ),
    Mutant(
        "the gradient of what was added is cut off at the wrong end",
        "backend/tensorflow/shapes.py",
        '        begin = _on_host((0,) * len(after), "int64")\n',
        "        begin = _on_host(tuple(map(int.__sub__, before, after)), "
        '"int64")\n',
        SIZES,
    ),
    Mutant(
        "the same numbers for every series",
        "numerics/noise.py",
        '        begin = ops.cast(series, "int64") * 2**_SERIES_BITS\n',
        '        begin = ops.cast(0 * series, "int64") * 2**_SERIES_BITS\n',
        f"{RULES} {SIZES}",
    ),
    # Streams, keys, replicas.
    Mutant(
        "a stream that does not move",
        "backend/tensorflow/streams.py",
        "_ONE_DRAW = (0, 1)\n",
        "_ONE_DRAW = (0, 0)\n",
        f"tests/ops/test_modes.py {LAYERS}",
    ),
    Mutant(
        "every replica draws the same",
        "backend/tensorflow/streams.py",
        '    return tf.random.split(key, replicas, alg="threefry")[replica]',
        '    return tf.random.split(key, replicas, alg="threefry")'
        "[0 * replica]",
        "tests/conformance/test_distribution.py",
    ),
    Mutant(
        "the stream is read, then moved",
        "backend/tensorflow/programs.py",
        "    before.set_shape(amount.shape)\n",
        "    before.set_shape(amount.shape)\n    before = before + amount\n",
        "tests/conformance tests/ops/test_modes.py",
    ),
    # Layers.
    Mutant(
        "noise at inference",
        "layers/logits.py",
        '        return "argmax" if self.hard else self._relaxed_mode\n',
        '        return "argmax" if self.hard else "sample"\n',
        LAYERS,
    ),
    Mutant(
        "padding of Keras is ignored",
        "layers/logits.py",
        "        if mask is not None:\n"
        "            logits = self._without_padding(logits, mask)\n",
        "",
        LAYERS,
    ),
    Mutant(
        "the stream is not loaded",
        "layers/saved.py",
        "        self.seed_generator.state.assign(state)\n",
        "",
        LAYERS,
    ),
    Mutant(
        "a schedule counts at inference too",
        "layers/sampling.py",
        "        if training and self._iterations is not None:\n",
        "        if self._iterations is not None:\n",
        LAYERS,
    ),
    Mutant(
        "a schedule is a step behind",
        "layers/sampling.py",
        "            step = fetch_and_add(self._iterations, 1)\n",
        "            step = fetch_and_add(self._iterations, 1) - 1\n",
        LAYERS,
    ),
    Mutant(
        "a schedule is lost by get_config",
        "layers/live_scalar.py",
        "        return keras.saving.serialize_keras_object(self.schedule)\n",
        "        return self.initial\n",
        LAYERS,
    ),
    Mutant(
        "the noise scale is not saved",
        "layers/saved.py",
        "        store[stored.NOISE_SCALE] = self.noise_scale\n",
        "",
        LAYERS,
    ),
    # The rest.
    Mutant(
        "a schedule that rounds after 2**24 steps",
        "schedules.py",
        'stage = ops.floor_divide(ops.cast(step, "int"), self.every)',
        'stage = ops.floor_divide(ops.cast(step, "float32"), self.every)',
        "tests/test_schedules.py",
    ),
    Mutant(
        "a KL of the wrong direction",
        "losses/categorical.py",
        "return ops.where(above, q, p) * ops.where(above, of_q, of_p)",
        "return ops.where(above, p, q) * ops.where(above, of_q, of_p)",
        KL,
    ),
    Mutant(
        "a KL that loses a class that the prior forbids",
        "losses/categorical.py",
        'kl = ops.where(unforeseen, kl + float("inf"), kl)',
        "kl = ops.where(unforeseen, kl, kl)",
        KL,
    ),
    Mutant(
        "a KL of gates without a gradient to its prior",
        "losses/bernoulli.py",
        "ops.where(never, 0.0, numerics.scaled(dy, d_kl)),",
        "ops.where(never, 0.0, 0.0 * numerics.scaled(dy, d_kl)),",
        KL,
    ),
    Mutant(
        "a perplexity of counts that are not shares",
        "metrics/code_perplexity.py",
        "        p = counts / total\n",
        "        p = counts / (total + 1.0)\n",
        METRICS,
    ),
    Mutant(
        "codes beyond the last are counted as the first",
        "metrics/code_counts.py",
        "        weight = ops.where(known & (weight >= 0), weight, "
        'float("nan"))\n',
        "",
        METRICS,
    ),
    Mutant(
        "a relaxed density without its slope",
        "distributions/classes.py",
        "        return self.distribution.log_prob(x) - self._slope(x)\n",
        "        return self.distribution.log_prob(x)\n",
        DENSITIES,
    ),
    Mutant(
        "a density that counts forbidden classes",
        "distributions/classes.py",
        "    n = ops.sum(ops.cast(allowed, log.dtype), axis=-1)\n",
        "    n = ops.sum(ops.ones_like(log), axis=-1)\n",
        DENSITIES,
    ),
    Mutant(
        "a layer's law at the layer's temperature, not the noise's",
        "distributions/laws.py",
        "        return self.live(ops.divide, self.temperature, "
        "self.noise_scale)\n",
        "        return self.live(ops.multiply, self.temperature, "
        "self.noise_scale)\n",
        DENSITIES,
    ),
    # JAX, where KERAS_BACKEND is set to it.
    Mutant(
        "a key of JAX read in its own order of words",
        "backend/jax/streams.py",
        "    return jnp.flip(key, -1)\n",
        "    return key\n",
        JAX,
        "jax",
    ),
    Mutant(
        "a stream keeps a tracer",
        "backend/jax/streams.py",
        "    if in_stateless_scope() or is_eager():\n        return\n",
        "    return\n",
        JAX,
        "jax",
    ),
    Mutant(
        "places of 32 bits",
        "backend/jax/streams.py",
        'lax.iota("int64", math.prod(shape)) + start\n',
        'lax.iota("int32", math.prod(shape)) + jnp.int32(start)\n',
        "tests/test_threefry.py tests/ops tests/test_large_numbers.py",
        "jax",
    ),
    Mutant(
        "a temperature that is only read is a constant of the program",
        "backend/jax/states.py",
        "list({**scope.used, **scope.changed}.values())",
        "list(scope.changed.values())",
        "tests/conformance/test_live_scalars.py tests/conformance",
        "jax",
    ),
    Mutant(
        "a program leaves variables as they were",
        "backend/jax/states.py",
        "            variable.assign(value)\n        return result\n",
        "            variable.assign(variable.value)\n        return result\n",
        JAX,
        "jax",
    ),
    Mutant(
        "a hard sample passes on no gradient",
        "backend/jax/gradients.py",
        "    return hard, tangents[1].astype(hard.dtype)\n",
        "    return hard, 0 * tangents[1].astype(hard.dtype)\n",
        "tests/estimators tests/ops",
        "jax",
    ),
    Mutant(
        "a dead code that parts no code, but points at its row alone",
        "layers/moving_codes.py",
        "weights - toward(mean)) + toward(each)",
        "0.0 * weights) + toward(each)",
        "tests/layers/test_gumbel_quantizer.py",
    ),
    Mutant(
        "a code parted at a mean with padding in it",
        "layers/moving_codes.py",
        "uses_and_sums(codes, each, counted, layer.num_codes)",
        "uses_and_sums(codes, each, None, layer.num_codes)",
        "tests/layers/test_gumbel_quantizer.py",
    ),
    Mutant(
        "codes of 64 bits cut to 32",
        "backend/jax/tensors.py",
        '        x = np.clip(x, -(2**31), 2**31 - 1).astype("int32")\n',
        '        x = x.astype("int32")\n',
        METRICS,
        "jax",
    ),
    Mutant(
        "a scan of a symbolic length that begins at the other end",
        "backend/jax/tensors.py",
        "        place = last - n if reverse else n\n",
        "        place = n if reverse else last - n\n",
        "tests/jax/test_exports.py",
        backend="jax",
    ),
    # torch, where KERAS_BACKEND is set to it.
    Mutant(
        "segments that are summed in float32",
        "backend/torch/tensors.py",
        "    sums = data.new_zeros((num_segments + 1, *data.shape[1:]))\n"
        "    return torch.index_add(sums, 0, place, data)[:num_segments]\n",
        "    sums = torch.zeros((num_segments + 1, *data.shape[1:]))\n"
        "    sums = torch.index_add(sums, 0, place, data.float())\n"
        "    return sums[:num_segments].to(data.dtype)\n",
        "tests/torch/test_double_precision.py",
        backend="torch",
    ),
    Mutant(
        "segments out of range in the last",
        "backend/torch/tensors.py",
        "    place = torch.where(out, num_segments, segment_ids).long()\n",
        "    place = torch.where(out, num_segments - 1, segment_ids).long()\n",
        "tests/torch/test_double_precision.py",
        backend="torch",
    ),
    Mutant(
        "a block of rows by the temperatures of the first block",
        "backend/torch/kernels/blocks.py",
        "    return x[rows]\n",
        "    return x[: rows.stop - rows.start]\n",
        "tests/torch/test_blocks.py",
        backend="torch",
    ),
    Mutant(
        "blocks of rows that leave one out",
        "backend/torch/kernels/blocks.py",
        "        yield slice(first, first + step)\n",
        "        yield slice(first, first + max(step - 1, 1))\n",
        "tests/torch/test_blocks.py",
        backend="torch",
    ),
    Mutant(
        "a right shift that brings in zeros in a file",
        "backend/torch/tensors.py",
        'torch.div(x, 2**count, rounding_mode="floor")',
        'torch.div(x, 2**count, rounding_mode="trunc")',
        "tests/torch/test_onnx.py",
        "torch",
    ),
    Mutant(
        "the least classes in a file",
        "backend/torch/order.py",
        "values, place = torch.topk(x, k, 1)",
        "values, place = torch.topk(x, k, 1, largest=False)",
        "tests/torch/test_onnx.py",
        "torch",
    ),
    Mutant(
        "zeros of memory that may be used",
        "backend/torch/kernels/memory.py",
        "_of_numpy(np.zeros, shape, dtype)",
        "_of_numpy(np.ones, shape, dtype)",
        "tests/test_choices.py tests/ops/test_gumbel_softmax.py",
        "torch",
    ),
    Mutant(
        "a loop without its last step",
        "backend/torch/loops.py",
        "    for n in range(int(count)):\n",
        "    for n in range(int(count) - 1):\n",
        "tests/ops/test_gumbel_top_k.py",
        "torch",
    ),
    Mutant(
        "a temperature that is not positive is taken as it is",
        "backend/torch/kernels/scales.py",
        "temperature, math.ulp(0.0)",
        "temperature, -math.inf",
        "tests/torch/test_scales.py",
        "torch",
    ),
    Mutant(
        "rows far from 0 stay there",
        "backend/torch/kernels/scales.py",
        "float(x.abs().max()) <= limit",
        "float(x.abs().min()) <= limit",
        "tests/ops/test_offsets.py tests/properties",
        "torch",
    ),
    Mutant(
        "a mark for no class is taken for the first class",
        "backend/torch/kernels/choices.py",
        "    return int(least) >= 0 and int(most) < count\n",
        "    return int(least) >= -1 and int(most) < count\n",
        "tests/ops/test_gumbel_softmax.py tests/conformance/test_shapes.py",
        "torch",
    ),
    Mutant(
        "a coin that is the next number's",
        "backend/torch/kernels/noise.py",
        "high.view(np.int32), 31, coin.view(np.int32)",
        "low.view(np.int32), 31, coin.view(np.int32)",
        "tests/torch/test_noise.py",
        "torch",
    ),
    Mutant(
        "a block of all rows takes the first",
        "ops/_blocks.py",
        " or x.shape[0] == 1:\n            return x\n",
        " or x.shape[0] == 1:\n            return x[:1]\n",
        "tests/torch/test_compile.py",
        "torch",
    ),
    Mutant(
        "a place that wraps around is taken for the first",
        "backend/torch/kernels/noise.py",
        "    y.fill(((place >> 32) + key[1]) % _WORD)\n",
        "    y.fill(key[1])\n",
        "tests/torch/test_noise.py",
        "torch",
    ),
    Mutant(
        "a block that goes on where the low word begins again",
        "backend/torch/kernels/noise.py",
        "last = min(first + size, first + left, count)",
        "last = min(first + size, count)",
        "tests/torch/test_noise.py",
        "torch",
    ),
    Mutant(
        "blocks of several threads in one place",
        "backend/torch/kernels/noise.py",
        "class _Buffers(threading.local):",
        "class _Buffers:",
        "tests/torch/test_noise.py",
        "torch",
    ),
    Mutant(
        "a compiler takes a stream's number for a constant",
        "backend/torch/streams.py",
        "        before = variable.value.detach().clone()\n"
        "        variable.assign(",
        "        before = torch.zeros(2, dtype=torch.int32)\n"
        "        variable.assign(",
        "tests/torch/test_compile.py",
        "torch",
    ),
    Mutant(
        "a row of torch's shows the first of its choices alone",
        "backend/torch/kernels/choices.py",
        "choice, hot = choice.narrow(axis, 0, 1), ",
        "choice, hot = choice[:, :1].expand_as(choice).narrow(axis, 0, 1), ",
        "tests/ops/test_num_samples.py",
        "torch",
    ),
    Mutant(
        "a compiled kernel keeps its first key",
        "backend/torch/kernels/fused.py",
        "program(out, key, torch.tensor(place))",
        'program(out, _STATE.__dict__.setdefault("key", key), '
        "torch.tensor(place))",
        "tests/torch/test_compile.py",
        "torch",
    ),
    Mutant(
        "a compiler takes a key of noise for a constant",
        "backend/torch/kernels/opaque.py",
        "        name, math.prod(shape), key, start, to_torch_dtype(dtype)\n",
        "        name, math.prod(shape), torch.tensor([2, 0]), start, "
        "to_torch_dtype(dtype)\n",
        "tests/torch/test_compile.py",
        "torch",
    ),
    Mutant(
        "a program for each size of a batch",
        "backend/torch/kernels/opaque.py",
        "    start = torch.as_tensor(start)\n",
        "    start = torch.as_tensor(start)\n"
        "    key = key + 0 * hash(int(shape[0]))\n",
        "tests/torch/test_compile.py",
        "torch",
    ),
    Mutant(
        "a block of torch that runs again draws anew",
        "backend/torch/checkpoints.py",
        "    if again:\n",
        "    if False:\n",
        "tests/torch/test_transformations.py",
        "torch",
    ),
    Mutant(
        "tangents that are lost in silence",
        "backend/torch/tracing.py",
        "    if forward_ad._current_level >= 0:\n",
        "    if False:\n",
        "tests/torch/test_forward_mode.py",
        "torch",
    ),
    Mutant(
        "ranks of one noise",
        "backend/torch/streams.py",
        "_part_key(key, _REPLICAS + rank)",
        "_part_key(key, _REPLICAS)",
        "tests/torch/test_streams.py",
        "torch",
    ),
    Mutant(
        "a place in a stream that is the process's own",
        "backend/torch/streams.py",
        "        before = state.detach().clone()\n",
        "        place = torch.zeros_like(state)\n"
        '        place = state.__dict__.setdefault("place", place)\n'
        "        before = place.clone()\n"
        "        place.add_(torch.as_tensor(amount))\n",
        "tests/torch/test_killed.py",
        "torch",
    ),
    Mutant(
        "the stream of a compiled step stands still",
        "backend/torch/streams.py",
        "        variable.assign(before + torch.as_tensor(amount, "
        "dtype=before.dtype))\n        return before\n    with _LOCK:",
        "        return before\n    with _LOCK:",
        "tests/torch/test_fit.py",
        "torch",
    ),
    # Codebooks.
    Mutant(
        "dead codes are moved to the first rows of a batch",
        "ops/restarts.py",
        'start = ops.cast(unit[:, None] * ops.cast(total, "float32"), "int32")',
        'start = ops.cast(0 * unit[:, None], "int32")',
        "tests/ops/test_restarts.py",
    ),
    Mutant(
        "dead codes are moved onto padding",
        "ops/restarts.py",
        'upto = ops.cumsum(ops.cast(counted, "int32"))',
        'upto = ops.cumsum(ops.ones_like(ops.cast(counted, "int32")))',
        "tests/ops/test_restarts.py",
    ),
    Mutant(
        "half of the square of a code is forgotten",
        "ops/nearest_code.py",
        "scores - ops.sum(ops.square(tables), axis=-1)[:, None] / 2",
        "scores - ops.sum(ops.square(tables), axis=-1)[:, None]",
        "tests/ops/test_nearest_code.py",
    ),
    Mutant(
        "of ties over two blocks the last code",
        "ops/nearest_code.py",
        "better = found > score",
        "better = found >= score",
        "tests/ops/test_nearest_code.py",
    ),
    Mutant(
        "a code is drawn at noise of scale 1",
        "layers/vector_quantizer.py",
        "            noise_scale=self.noise_scale,\n",
        "            noise_scale=1.0,\n",
        VECTORS,
    ),
    Mutant(
        "every example loses stages",
        "layers/learning_codes.py",
        "ops.floor(unit / self.stage_dropout * self.num_stages)",
        "ops.floor(unit * self.num_stages)",
        VECTORS,
    ),
    Mutant(
        "a moving average of means in place of sums",
        "layers/code_states.py",
        "        sums = decay * self.sums + (1.0 - decay) * sums\n",
        "        sums = decay * self.sums + (1.0 - decay) * sums / 2\n",
        VECTORS,
    ),
    Mutant(
        "a frozen codebook learns",
        "layers/vector_quantizer.py",
        "learns = bool(training) and self.trainable",
        "learns = bool(training)",
        VECTORS,
    ),
    Mutant(
        "rounded with noise that has a mean",
        "layers/finite_scalar_quantizer.py",
        "noise = sample_uniform(shape, seed) - 0.5",
        "noise = sample_uniform(shape, seed)",
        SCALARS,
    ),
    Mutant(
        "noise of bits twice as wide",
        "layers/finite_scalar_quantizer.py",
        "(noise / 4.0 if self._levels.are_bits else noise)",
        "(noise / 2.0 if self._levels.are_bits else noise)",
        SCALARS,
    ),
    Mutant(
        "the slope of one side",
        "diagnostics/temperature_report.py",
        "slopes = (up - down) / (2 * np.linalg.norm(far))",
        "slopes = (up - down) / np.linalg.norm(far)",
        REPORTS,
    ),
    Mutant(
        "weights that samples do not reach",
        "diagnostics/trial.py",
        "is_reached = np.abs(change).max() > 1e-5 * np.abs(part).max()",
        "is_reached = True",
        REPORTS,
    ),
    Mutant(
        "rows that go on from each other",
        "diagnostics/trial.py",
        "        _assign(self._slots, self._start_of_slots)\n",
        "",
        REPORTS,
    ),
    Mutant(
        "the sign is shifted in, where there is no AND",
        "backend/threefry.py",
        "(x + negative) * 2**turn",
        "x * 2**turn",
        PORTABLE,
    ),
    Mutant(
        "logistic noise of the other sign, by arithmetic",
        "numerics/portable_noise.py",
        "ops.where(words.high < 0, -size, size)",
        "ops.where(words.high < 0, size, -size)",
        PORTABLE,
    ),
    Mutant(
        "small noise ends where float32's log(1 + x) does",
        "numerics/portable_noise.py",
        "ops.where(t <= 0.5, 2.0 * z * total, -ops.log(rest))",
        "-ops.log(rest)",
        PORTABLE,
    ),
    Mutant(
        "weights of 24 bits",
        "numerics/portable_choice.py",
        "_OF_WEIGHT = 4",
        "_OF_WEIGHT = 2",
        PORTABLE,
    ),
    Mutant(
        "a random number of 32 bits",
        "numerics/portable_choice.py",
        "high * _BASE + _first_bits(low)",
        "high * _BASE",
        PORTABLE,
    ),
    Mutant(
        "layers of one model draw the same",
        "export/seed_input.py",
        "second * self.draws + next(left)",
        "second * self.draws + 0 * next(left)",
        SEEDED,
    ),
    Mutant(
        "a call draws again what the one before drew",
        "export/seed_input.py",
        "second * self.draws + next(left)",
        "second + next(left)",
        SEEDED,
    ),
    Mutant(
        "a key perturbs gates by Gumbel noise",
        "layers/gumbel_sigmoid.py",
        '_law = "logistic"',
        '_law = "gumbel"',
        "tests/conformance/test_seed_input.py",
    ),
    Mutant(
        "a size that stands in for another is taken for true",
        "backend/torch/tensors.py",
        "_STAND_INS = (83, 89)",
        "_STAND_INS = ()",
        SYMBOLIC,
        "torch",
    ),
    Mutant(
        "a symbol is taken for a size",
        "backend/jax/tensors.py",
        "size if isinstance(size, int) else None for size in shape",
        "size for size in shape",
        SYMBOLIC,
        "jax",
    ),
    Mutant(
        "given noise of NaN is a level",
        "layers/finite_scalar_quantizer.py",
        "output = self._levels.shown(digits, soft, ops.isnan(noisy))",
        "output = self._levels.shown(digits, soft, ops.isnan(soft))",
        SCALARS,
    ),
)


def place_of(tests_of: str | None) -> Path:
    """A copy of this tree, with the tests of another commit if it is named."""
    copy = Path(tempfile.mkdtemp(prefix="mutants-"))
    names = (
        *("keras_gumbel", "tests", "docs"),
        *("examples", "studies", "benchmarks"),
    )
    for name in names:
        shutil.copytree(ROOT / name, copy / name)
    for file in ROOT.glob("*.*"):
        if file.is_file():
            shutil.copy(file, copy / file.name)
    if tests_of:
        shutil.rmtree(copy / "tests")
        archive = subprocess.run(
            ["git", "archive", tests_of, "tests", "pyproject.toml"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        subprocess.run(["tar", "-x"], cwd=copy, input=archive, check=True)
    return copy


def caught_by(place: Path, tests: list[str]) -> str | None:
    """The first test that fails; None if all pass."""
    present = [test for test in tests if (place / test).exists()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", GATE]
    try:
        run = subprocess.run(
            [*command, "-p", "no:cacheprovider", "--no-header", *present],
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(place)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "time"
    if run.returncode == 0:
        return None
    lines = run.stdout.splitlines()
    failed = [x for x in lines if x.startswith(("FAILED ", "ERROR "))]
    return failed[0].split(" - ")[0].split(" ", 1)[1] if failed else "start"


def try_one(mutant: Mutant, place: Path, whole: bool) -> str | None:
    """Plant it in the copy, see who finds it, and mend the copy."""
    file = place / "keras_gumbel" / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: not once in {mutant.file}")
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        found = caught_by(place, mutant.tests.split())
        if found is None and whole:
            found = caught_by(place, ["tests", "keras_gumbel"])
        return found
    finally:
        file.write_text(text)


def main() -> None:
    """A row for each; an exit code other than 0 if one is not caught."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--tests-of", metavar="COMMIT")
    parser.add_argument("--whole", action="store_true")
    args = parser.parse_args()
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    here = [m for m in MUTANTS if m.backend == backend]
    chosen = [m for m in here if not args.names or m.name in args.names]
    place = place_of(args.tests_of)
    survived = 0
    print("| planted in | bug | caught by | seconds |\n|-|-|-|-|")
    for mutant in chosen:
        start = time.perf_counter()
        found = try_one(mutant, place, args.whole)
        survived += found is None
        seconds = time.perf_counter() - start
        print(
            f"| {mutant.file} | {mutant.name} | {found or '**nothing**'} | "
            f"{seconds:.0f} |",
            flush=True,
        )
    shutil.rmtree(place)
    sys.exit(survived > 0)


if __name__ == "__main__":
    main()
