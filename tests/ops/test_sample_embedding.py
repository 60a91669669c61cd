"""sample_embedding is one_hot @ table, in value and in every gradient."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.frameworks import tf
from tests.harness import in_mode, tensor, to_numpy, value_and_grad
from tests.variants import slow, slow_rows

# One block of rows; several, the last reaching back; rows wider than most.
SHAPES = [(5, 7, 3), (1101, 500, 2), (513, 5000, 2)]


def by_product(logits, table, temperature, **kwargs):
    one_hot = kg.ops.gumbel_softmax(logits, temperature, hard=True, **kwargs)
    return one_hot @ keras.ops.cast(table, one_hot.dtype)


def value_and_gradients(op, logits, table, temperature, weights, **kwargs):
    y, found = value_and_grad(
        lambda *args: op(*args, **kwargs),
        *(logits, table, temperature),
        upstream=weights,
    )
    return y, *found


def inputs(rows, classes, width, seed, lead=()):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return tensor(rng.normal(size=shape), "float32")

    return (
        normal(*lead, rows, classes),
        normal(classes, width),
        tensor(0.7),
        normal(*lead, rows, width),
    )


def assert_close(got, wanted):
    names = ("value", "to logits", "to table", "to temperature")
    for name, a, b in zip(names, got, wanted, strict=True):
        scale = max(1.0, float(np.abs(to_numpy(b)).max(initial=0.0)))
        np.testing.assert_allclose(a, b, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("eager", SHAPES[1]),
        *slow_rows(
            *(("eager", shape) for shape in SHAPES[::2]),
            *(("compiled", shape) for shape in SHAPES),
            *(("graph", shape) for shape in SHAPES),
        ),
    ],
    ids=str,
)
def test_is_the_product_with_the_one_hot(mode, shape, seed):
    args = inputs(*shape, seed)
    run = in_mode(
        mode,
        lambda *args: value_and_gradients(
            kg.ops.sample_embedding, *args, seed=seed
        ),
    )
    wanted = value_and_gradients(by_product, *args, seed=seed)
    got = run(*args)
    assert np.any(to_numpy(got[1]) != 0)
    assert_close(got, wanted)
    # A row of the table itself, bit for bit.
    np.testing.assert_array_equal(got[0], wanted[0])


@pytest.mark.parametrize("lead", [(2, 3), *slow((), (2,))])
@pytest.mark.parametrize("kind", ["each", *slow("one", "all")])
def test_masks_and_temperatures(kind, lead, seed):
    logits, table, _, weights = inputs(4, 6, 3, seed, lead)
    mask = np.random.default_rng(seed).random((*lead, 4, 6)) < 0.6
    mask[..., 0, :] = False
    mask = {"one": mask[(0,) * (len(lead) + 1)] | True, "each": mask}.get(
        kind, mask[..., :1, :]
    )
    rng = np.random.default_rng(seed)
    temperature = tensor(rng.uniform(0.3, 2.0, (*lead, 4, 1)), "float32")
    args = logits, table, temperature, weights
    options = {"class_mask": mask, "noise_scale": 0.5, "seed": seed}
    got = value_and_gradients(kg.ops.sample_embedding, *args, **options)
    assert_close(got, value_and_gradients(by_product, *args, **options))


def test_nothing_allowed_gives_zeros_and_nan_gives_nan(seed):
    """By -inf; a mask of a whole row is among those above."""
    logits, table, temperature, weights = inputs(3, 4, 2, seed)
    bad = np.array(logits)
    bad[0], bad[1, 2] = -np.inf, np.nan
    y, *_ = value_and_gradients(
        kg.ops.sample_embedding,
        tensor(bad),
        table,
        temperature,
        weights,
        seed=seed,
    )
    y = to_numpy(y)
    assert np.all(y[0] == 0)
    assert np.all(np.isnan(y[1]))
    assert np.all(np.isfinite(y[2]))


@pytest.mark.parametrize("dtype", ["float16", *slow("bfloat16", "float32")])
def test_has_the_dtype_of_the_table(dtype, seed):
    logits, table, _, _ = inputs(6, 5, 3, seed)
    table = keras.ops.cast(table, dtype)
    y = kg.ops.sample_embedding(logits, table, seed=seed)
    index = kg.ops.sample_argmax_index(logits, hard=True, seed=seed)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    index = keras.ops.cast(index, "int32")
    np.testing.assert_array_equal(y, keras.ops.take(table, index, axis=0))


@pytest.mark.tensorflow
def test_empty_batch_and_unknown_batch(seed):
    _, table, _, _ = inputs(1, 5, 3, seed)

    spec = tf.TensorSpec((None, None, 5))

    @tf.function(input_signature=[spec], autograph=False)
    def draw(logits):
        return kg.ops.sample_embedding(logits, table, seed=seed)

    assert draw(tf.zeros((0, 4, 5))).shape == (0, 4, 3)
    logits, *_ = inputs(4, 5, 3, seed, lead=(2,))
    np.testing.assert_array_equal(
        draw(logits), kg.ops.sample_embedding(logits, table, seed=seed)
    )


@pytest.mark.slow
def test_double_precision(seed):
    logits, table, temperature, weights = (
        keras.ops.cast(x, "float64") for x in inputs(40, 64, 3, seed)
    )
    args = logits, table, temperature, weights
    got = value_and_gradients(kg.ops.sample_embedding, *args, seed=seed)
    wanted = value_and_gradients(by_product, *args, seed=seed)
    for a, b in zip(got, wanted, strict=True):
        assert keras.backend.standardize_dtype(a.dtype) == "float64"
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("table", "exception"),
    [
        (np.zeros((4, 2), "float32"), ValueError),
        (np.zeros((1, 2), "float32"), ValueError),
        (np.zeros(3, "float32"), ValueError),
        (np.zeros((3, 2), "int32"), TypeError),
    ],
    ids=["rows", "one row", "vector", "integers"],
)
def test_a_table_that_does_not_fit(table, exception):
    with pytest.raises(exception, match=r"`table` must.*Received: table of"):
        kg.ops.sample_embedding(np.zeros((2, 3), "float32"), table)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_second_derivatives_are_refused(seed):
    """And only they: an outer tape that is not asked is no matter."""
    logits, table, *_ = inputs(5, 7, 3, seed)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([logits, table])
        with tf.GradientTape() as inner:
            inner.watch(logits)
            y = kg.ops.sample_embedding(logits, table, seed=seed)
            loss = tf.reduce_sum(y**2)
        first = inner.gradient(loss, logits)
    assert np.abs(outer.gradient(loss, table)).max() > 0
    with pytest.raises(LookupError, match="sample_embedding has first deriv"):
        outer.gradient(first, table)


class TestLayer:
    @pytest.mark.slow
    def test_trains_as_gumbel_softmax_and_dense(self, seed):
        """The same weights after steps of the same noise."""
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(32, 6)).astype("float32")
        y = rng.normal(size=(32, 3)).astype("float32")

        def network(*end):
            keras.utils.set_random_seed(seed)
            first = [keras.Input((6,)), keras.layers.Dense(9)]
            return keras.Sequential([*first, *end])

        table = rng.normal(size=(9, 3)).astype("float32")
        gather = kg.GumbelEmbedding(9, 3, temperature=0.5, seed=5)
        product = keras.layers.Dense(3, use_bias=False)
        models = [
            network(gather),
            network(kg.GumbelSoftmax(0.5, hard=True, seed=5), product),
        ]
        gather.embeddings.assign(table)
        product.kernel.assign(table)
        losses = []
        for model in models:
            model.compile(keras.optimizers.SGD(0.1), "mse")
            history = model.fit(x, y, 8, 3, shuffle=False, verbose=0)
            losses.append(history.history["loss"])
        np.testing.assert_allclose(*losses, rtol=1e-5)
        np.testing.assert_allclose(
            gather.embeddings, product.kernel, rtol=1e-4, atol=1e-5
        )

    def test_inference(self, seed):
        logits, table, _, _ = inputs(4, 5, 3, seed)
        layer = kg.GumbelEmbedding(5, 3)
        layer.build((None, 5))
        layer.embeddings.assign(table)
        likeliest = to_numpy(table)[np.argmax(logits, -1)]
        np.testing.assert_allclose(layer(logits), likeliest, rtol=1e-6)
        mean = kg.GumbelEmbedding(5, 3, temperature=0.5, inference="softmax")
        mean.build((None, 5))
        mean.embeddings.assign(table)
        np.testing.assert_allclose(
            mean(logits), keras.ops.softmax(logits / 0.5) @ table, rtol=1e-5
        )

    @pytest.mark.parametrize("training", [True, False])
    def test_other_logits_after_the_first(self, training):
        layer = kg.GumbelEmbedding(5, 3)
        layer(np.zeros((2, 5), "float32"), training=training)
        with pytest.raises(ValueError, match=r"axis -1 .* to have value 5"):
            layer(np.zeros((2, 4), "float32"), training=training)

    def test_sizes_that_do_not_fit(self):
        with pytest.raises(ValueError, match=r"`input_dim`.*Received: input"):
            kg.GumbelEmbedding(5, 3)(np.zeros((2, 4), "float32"))
        with pytest.raises(ValueError, match=r"`output_dim`.*Received"):
            kg.GumbelEmbedding(5, 0)


@pytest.mark.parametrize("what", ["class_mask", "temperature"])
def test_of_each_row_and_then_one_for_all(what, seed):
    """In one program for both, the number of its rows would be unknown."""
    logits, table, _, weights = inputs(7, 5, 3, seed)
    each = {
        "class_mask": np.ones((7, 5), bool),
        "temperature": np.full((7, 1), 0.5, "float32"),
    }[what]
    found = []
    for given in (each, each[:1], each[:3]):
        rows = slice(0, 3 if len(given) == 3 else 7)
        options = {"temperature": tensor(0.5), "class_mask": None}
        options[what] = tensor(given)
        tau, mask = options["temperature"], options["class_mask"]
        found.append(
            value_and_gradients(
                kg.ops.sample_embedding,
                *(logits[rows], table, tau, weights[rows]),
                class_mask=mask,
                seed=seed,
            )
        )
    first, second, third = found
    np.testing.assert_array_equal(to_numpy(first[0]), to_numpy(second[0]))
    np.testing.assert_array_equal(to_numpy(first[0])[:3], to_numpy(third[0]))
