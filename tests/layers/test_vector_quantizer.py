"""`VectorQuantizer` beside a transcription of its formulas in NumPy."""

import keras
import numpy as np
import pytest
from scipy import stats

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.harness import (
    grad_to,
    in_mode,
    modes,
    tensor,
    to_numpy,
    value_and_grad,
)

DIM = 6


def vectors(*lead, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*lead, DIM)).astype("float32")


def quantizer(*sizes, **settings):
    """A layer whose codes stay, but for what a test asks for."""
    settings = {"init_from_data": False, "restart_after": None, **settings}
    layer = kg.VectorQuantizer(*sizes, **{"seed": 3, **settings})
    layer.build((None, DIM))
    rng = np.random.default_rng(7)
    layer.embeddings.assign(rng.normal(size=layer.embeddings.shape))
    if layer.update == "ema":
        counts, sums = layer._averages
        table = to_numpy(layer.embeddings)
        sums.assign(to_numpy(counts)[..., None] * table)
    return layer


def coded(layer, x):
    """Codes and vectors stage by stage, in float64: what encode must give."""
    tables = as_array(layer.tables)
    rest = as_array(x).reshape(-1, layer.num_groups, tables.shape[-1])
    codes, total = [], 0
    for table in tables:
        distances = np.square(rest[:, :, None] - table).sum(axis=-1)
        codes.append(distances.argmin(axis=-1))
        rows = table[np.arange(layer.num_groups), codes[-1]]
        rest, total = rest - rows, total + rows
    lead = np.shape(x)[:-1]
    return (
        np.concatenate(codes, axis=-1).reshape(*lead, -1),
        total.reshape(np.shape(x)),
        rest.reshape(np.shape(x)),
    )


SIZES = [(5,), (5, 2), (4, 3, 3)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@modes()
def test_codes_are_the_nearest_of_each_stage_and_group(sizes, mode):
    layer, x = quantizer(*sizes), vectors(7, 4)
    codes, total, _ = coded(layer, x)
    run = in_mode(mode, lambda x: (layer(x), layer.encode(x)))
    y, found = to_numpy(run(tensor(x)))
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_allclose(y, total, rtol=1e-5, atol=1e-6)
    # Bit for bit, as is what training gives where there is no noise.
    np.testing.assert_array_equal(to_numpy(layer.decode(found)), y)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_decodes_to_the_same_bits(dtype):
    layer, x = quantizer(4, 2, 3, dtype=dtype), vectors(30)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    decoded = layer.decode(layer.encode(x))
    np.testing.assert_array_equal(as_array(decoded), as_array(y))


def test_first_stages_alone_decode_to_what_they_give():
    layer, x = quantizer(4, 2, 3), vectors(9)
    codes = to_numpy(layer.encode(x))
    one = quantizer(4, 2)
    one.embeddings.assign(to_numpy(layer.embeddings)[:1])
    np.testing.assert_array_equal(
        to_numpy(layer.decode(codes[:, :2])), to_numpy(one(x))
    )


@pytest.mark.parametrize("update", ["loss", "ema"])
@pytest.mark.parametrize("masked", [False, True])
def test_losses_are_those_of_the_formula(update, masked):
    layer = quantizer(4, 2, 2, update=update, commitment_weight=0.3)
    x = vectors(8, 5)
    mask = np.arange(5) < np.arange(8)[:, None] if masked else None
    before = as_array(layer.embeddings)
    if masked:
        x[~mask] = float("nan")
    layer(tensor(x), training=True, mask=None if mask is None else tensor(mask))
    loss = sum(to_numpy(layer.losses))
    real = x[mask] if masked else x.reshape(-1, DIM)
    layer.embeddings.assign(before)
    rest, wanted = real, 0.0
    for stage in range(2):
        one = quantizer(4, 2)
        one.embeddings.assign(before[stage : stage + 1])
        rest = coded(one, rest)[2]
        wanted += np.square(rest).mean() * (0.3 + (update == "loss"))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("update", ["ema", "loss"])
def test_a_frozen_layer_keeps_its_codes_and_their_statistics(update):
    layer = kg.VectorQuantizer(5, num_stages=2, update=update, seed=3)
    x = vectors(20)
    layer(x, training=True)
    layer.trainable = False
    before = [to_numpy(weight) for weight in layer.weights]
    layer(x + 1, training=True)
    for one, other in zip(before, layer.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(other), one)
    # The encoder is still held to the codes.
    (loss,) = to_numpy(layer.losses)
    _, _, rest = coded(layer, x + 1)
    assert loss > 0.25 * np.mean(rest**2)


def test_a_temperature_of_each_vector_reaches_its_gradient():
    """Of two halves, each as if it were alone."""
    x, found = vectors(2, 3), []
    tau = np.float32([0.5, 2.0])
    for temperature in (tau[:, None, None, None], *tau):
        layer = quantizer(
            5, 2, noise_scale=1.0, estimator="st", trainable=False
        )
        _, (gradient,) = value_and_grad(
            lambda x, layer=layer, t=temperature: layer(
                x, temperature=t, training=True
            ),
            x,
            upstream=vectors(2, 3, seed=1),
        )
        found.append(as_array(gradient))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_allclose(found[0][1], found[2][1], rtol=1e-6)
    assert np.abs(found[1] - found[2]).max() > 1e-3


@pytest.mark.parametrize("temperature", [np.ones((3, 1), "float32"), -1.0, "1"])
def test_temperatures_that_do_not_fit(temperature):
    layer = quantizer(5, 2)
    with pytest.raises((TypeError, ValueError), match="`temperature` must"):
        layer(vectors(2, 3), temperature=temperature)


def test_gradients_of_the_loss_are_its_slopes():
    """Finite differences of the two losses, each to what it is to move."""
    layer, x = quantizer(4, 2, update="loss", commitment_weight=0.3), vectors(9)
    codes, _, _ = coded(layer, x)
    table = as_array(layer.embeddings)[0]

    def loss_of(x, table, commitment):
        rows = table[np.arange(2), codes].reshape(x.shape)
        scale = 0.3 if commitment else 1.0
        return scale * np.square(x - rows).mean()

    def run(x):
        layer(x, training=True)
        return sum(layer.losses)

    _, (dx,) = value_and_grad(run, x)

    (d_table,) = grad_to([layer.embeddings], lambda: run(tensor(x)))
    rng = np.random.default_rng(5)
    wide = x.astype("float64")
    along = rng.normal(size=x.shape)
    step = 1e-5
    slope = (
        loss_of(wide + step * along, table, True)
        - loss_of(wide - step * along, table, True)
    ) / (2 * step)
    np.testing.assert_allclose((to_numpy(dx) * along).sum(), slope, rtol=1e-4)
    along = rng.normal(size=table.shape)
    slope = (
        loss_of(wide, table + step * along, False)
        - loss_of(wide, table - step * along, False)
    ) / (2 * step)
    np.testing.assert_allclose((d_table[0] * along).sum(), slope, rtol=1e-4)


def test_the_gradient_at_the_output_is_that_at_the_inputs():
    layer, x = quantizer(4, 2, 3, commitment_weight=0.0), vectors(9)
    upstream = vectors(9, seed=4)
    _, (dx,) = value_and_grad(
        lambda x: layer(x, training=True), x, upstream=upstream
    )
    np.testing.assert_array_equal(to_numpy(dx), upstream)


@modes()
def test_moving_averages_are_those_of_the_paper(mode):
    """van den Oord et al., eq. 6 to 8, transcribed; five batches, masked."""
    layer = quantizer(5, 2, decay=0.8)
    table = as_array(layer.embeddings)[0]
    counts, sums = (as_array(x)[0] for x in layer._averages)
    run = in_mode(mode, lambda x, m: layer(x, training=True, mask=m))
    for batch in range(5):
        x = vectors(20, seed=batch)
        mask = np.random.default_rng(batch).uniform(size=20) < 0.7
        parts = x.reshape(20, 2, DIM // 2).astype("float64")
        distances = np.square(parts[:, :, None] - table).sum(axis=-1)
        codes = distances.argmin(axis=-1)
        for group in range(2):
            for code in range(5):
                mine = parts[mask & (codes[:, group] == code), group]
                counts[group, code] *= 0.8
                counts[group, code] += 0.2 * len(mine)
                sums[group, code] *= 0.8
                sums[group, code] += 0.2 * mine.sum(axis=0)
        table = sums / counts[..., None]
        x[~mask] = float("nan")
        run(tensor(x), tensor(mask))
        np.testing.assert_allclose(
            as_array(layer.embeddings)[0], table, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("update", ["loss", "ema"])
def test_codes_begin_as_vectors_of_the_first_batches(update):
    layer = kg.VectorQuantizer(
        30, update=update, decay=0.0, restart_after=None, seed=3
    )
    first, second = vectors(20), vectors(20, seed=1)
    y = to_numpy(layer(tensor(first), training=True))
    # Every vector of this batch has become a code.
    np.testing.assert_array_equal(y, first)
    layer(tensor(second), training=True)
    idle = to_numpy(layer._states.idle)
    assert (idle < 100).all()
    tables = to_numpy(layer.tables)[0, 0]
    if update == "loss":
        both = np.concatenate([first, second])
        near = np.abs(tables[:, None] - both).max(axis=-1).min(axis=-1)
        assert near.max() < 1e-5
        assert len(np.unique(tables.round(4), axis=0)) == 30
    third = vectors(20, seed=2)
    layer(tensor(third), training=True)
    if update == "loss":
        # Once.
        np.testing.assert_array_equal(to_numpy(layer.tables)[0, 0], tables)


@pytest.mark.parametrize("update", ["loss", "ema"])
@modes()
def test_dead_codes_are_moved_and_living_ones_stay(update, mode):
    layer = quantizer(4, update=update, restart_after=3, decay=0.5)
    table = np.zeros((1, 1, 4, DIM), "float32")
    table[0, 0, 1:] = 100.0 * np.arange(1, 4)[:, None]
    layer.embeddings.assign(table)
    if update == "ema":
        layer._averages[1].assign(table * 0.5)
    run = in_mode(mode, lambda x, m: layer(x, training=True, mask=m))
    x, mask = vectors(10), np.arange(10) < 6
    x[6:] += 1000.0
    for _ in range(3):
        run(tensor(x), tensor(mask))
        moved = np.abs(to_numpy(layer.tables)[0, 0, 1:]).max(axis=-1) < 50
        assert not moved.any()
    run(tensor(x), tensor(mask))
    after = to_numpy(layer.tables)[0, 0]
    assert (np.abs(after) < 50).all()
    if update == "loss":
        near = np.abs(after[1:, None] - x[:6]).max(axis=-1).min(axis=-1)
        assert near.max() < 1e-4
        np.testing.assert_array_equal(after[0], table[0, 0, 0])


@pytest.mark.slow
def test_error_falls_with_each_stage():
    x = vectors(4000)
    layer = kg.VectorQuantizer(16, num_stages=4, seed=3)
    for _ in range(40):
        layer(tensor(x), training=True)
    codes = to_numpy(layer.encode(x))
    errors = [
        np.square(to_numpy(layer.decode(codes[:, : n + 1])) - x).mean()
        for n in range(4)
    ]
    assert (np.diff([np.square(x).mean(), *errors]) < 0).all()


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("estimator", [None, "st_gumbel"])
def test_a_noisy_code_has_the_law_of_the_distances(scale, estimator, seed):
    """Chi-square of 1e6 samples, false-fail rate 1e-6."""
    layer = quantizer(
        5, noise_scale=scale, estimator=estimator, update="loss", seed=seed
    )
    x = vectors(1)
    table = as_array(layer.embeddings)[0, 0]
    logits = -np.square(x - table).sum(axis=-1) / scale
    law = np.exp(logits - logits.max())
    n = 1_000_000
    y = to_numpy(layer(tensor(np.repeat(x, n, axis=0)), training=True))
    counts = np.array([(y[:, 0] == row[0]).sum() for row in to_numpy(table)])
    tables = to_numpy(layer.tables)[0, 0]
    counts = np.array([(y == row).all(axis=-1).sum() for row in tables])
    assert counts.sum() == n
    assert stats.chisquare(counts, n * law / law.sum()).pvalue > 1e-6


def test_an_estimator_gives_the_gradient_of_the_sampled_codes():
    """As of `sample_embedding` from these logits, to inputs and codes."""
    settings = {"noise_scale": 0.7, "estimator": "st_gumbel", "update": "loss"}
    layer = quantizer(5, commitment_weight=0.0, **settings)
    x, upstream = vectors(9), vectors(9, seed=4)
    table = to_numpy(layer.embeddings)[0, 0]
    _, (dx,) = value_and_grad(
        lambda x: layer(x, training=True), x, upstream=upstream
    )

    def directly(x):
        squares = keras.ops.square(x[:, None] - tensor(table))
        return kg.ops.sample_embedding(
            -keras.ops.sum(squares, axis=-1),
            tensor(table),
            noise_scale=0.7,
            seed=keras.random.SeedGenerator(3),
        )

    _, (wanted,) = value_and_grad(directly, x, upstream=upstream)
    np.testing.assert_allclose(to_numpy(dx), to_numpy(wanted), atol=1e-4)


def test_cosine_codes_are_of_length_one_and_the_most_alike():
    layer, x = quantizer(7, 2, distance="cosine"), vectors(11)
    parts = as_array(x).reshape(11, 2, -1)
    tables = as_array(layer.embeddings)[0]
    unit = tables / np.linalg.norm(tables, axis=-1, keepdims=True)
    cosine = np.einsum("ngd,gkd->ngk", parts, unit)
    codes = to_numpy(layer.encode(x))
    np.testing.assert_array_equal(codes, cosine.argmax(axis=-1))
    y = to_numpy(layer(x)).reshape(11, 2, -1)
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 1.0, rtol=1e-6)


def test_stage_dropout_leaves_out_the_last_stages(seed):
    """Each depth as often: chi-square, false-fail rate 1e-6."""
    layer = quantizer(3, 1, 4, stage_dropout=0.5, update="loss", seed=seed)
    n = 20_000
    x = np.repeat(vectors(1), n, axis=0)
    codes = to_numpy(layer.encode(x[:1]))
    partial = np.concatenate(
        [to_numpy(layer.decode(codes[:, : d + 1])) for d in range(4)]
    )
    y = to_numpy(layer(tensor(x), training=True))
    near = np.abs(y[:, None] - partial).max(axis=-1)
    assert (near.min(axis=-1) == 0).all()
    counts = np.bincount(near.argmin(axis=-1), minlength=4)
    law = np.array([1, 1, 1, 5]) / 8
    assert stats.chisquare(counts, n * law).pvalue > 1e-6


def test_metrics_are_of_each_stage_and_leave_padding_out():
    layer = quantizer(4, 2, 2, name="codes", update="loss")
    x, mask = vectors(50), np.arange(50) < 20
    layer(tensor(x), training=False, mask=tensor(mask))
    codes = to_numpy(layer.encode(x[:20])).reshape(20, 2, 2)
    for stage in range(2):
        shares = [
            np.bincount(codes[:, stage, g], minlength=4) / 20 for g in range(2)
        ]
        entropy = [-(p[p > 0] * np.log(p[p > 0])).sum() for p in shares]
        found = float(layer.perplexity[stage].result())
        np.testing.assert_allclose(found, np.exp(entropy).mean(), rtol=1e-5)
        used = np.mean([(p > 0).mean() for p in shares])
        np.testing.assert_allclose(
            float(layer.usage[stage].result()), used, rtol=1e-6
        )
    assert layer.perplexity[1].name == "codes_perplexity_2"


def test_fit_learns_logs_and_continues_from_a_file(tmp_path):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((DIM,))
    layer = kg.VectorQuantizer(8, num_stages=2, restart_after=2, name="codes")
    model = keras.Model(inputs, keras.layers.Dense(DIM)(layer(inputs)))
    model.compile("adam", "mean_squared_error")
    x = vectors(60)
    history = model.fit(x, x, epochs=3, batch_size=16, verbose=0).history
    assert history["codes_usage_1"][-1] > 0.5
    assert history["codes_perplexity_2"][-1] > 1.5
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    for one in (model, again):
        one.fit(x, x, epochs=2, batch_size=16, shuffle=False, verbose=0)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"num_codes": 0}, ValueError, "`num_codes` must be at least 1"),
        ({"num_stages": 1.5}, TypeError, "`num_stages` must be an integer"),
        ({"distance": "dot"}, ValueError, "`distance` must be one of"),
        ({"update": "sgd"}, ValueError, "`update` must be one of"),
        ({"decay": 1.0}, ValueError, r"`decay` must be in \[0, 1\)"),
        ({"restart_after": 0}, ValueError, "`restart_after` must be at"),
        ({"stage_dropout": 2.0}, ValueError, "`stage_dropout` must be in"),
        ({"init_from_data": 1}, TypeError, "`init_from_data` must be True"),
        ({"commitment_weight": -1.0}, ValueError, "`commitment_weight`"),
    ],
)
def test_arguments_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        kg.VectorQuantizer(**{"num_codes": 4, **settings})


def test_inputs_that_do_not_fit():
    layer = kg.VectorQuantizer(4, 4)
    with pytest.raises(ValueError, match="that `num_groups` divides"):
        layer(vectors(3))
    with pytest.raises(TypeError, match="`inputs` must be a float tensor"):
        quantizer(4)(np.zeros((2, DIM), "int32"))
    with pytest.raises(ValueError, match="is 0 for good"):
        quantizer(4).noise_scale = 1.0


def test_noise_is_given_for_each_position():
    """The code of a position is the likeliest by the noise given for it."""
    layer = kg.VectorQuantizer(
        6, num_groups=2, noise_scale=0.5, inference="sample", seed=1
    )
    model = keras.Sequential([keras.Input((3, 4)), layer])
    given = kg.export.with_noise_input(model)
    assert tuple(given.inputs[1].shape) == (None, 3, 2, 6)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 3, 4)).astype("float32")
    noise = rng.gumbel(size=(5, 3, 2, 6)).astype("float32")
    tables = to_numpy(layer.embeddings)
    groups = x.reshape(5, 3, 2, 1, 2)
    distance = ((groups - tables.reshape(2, 6, 2)) ** 2).sum(-1)
    codes = np.argmax(0.5 * noise - distance, -1)
    right = tables.reshape(2, 6, 2)[np.arange(2), codes].reshape(x.shape)
    y = to_numpy(given([x, noise]))
    np.testing.assert_allclose(y, right, atol=1e-6)
