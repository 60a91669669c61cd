"""`GumbelTopK`: what the layer adds to `gumbel_top_k`."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.frameworks import tf
from tests.harness import ALWAYS_KNOWN, grad, in_mode, modes, tensor, to_numpy
from tests.variants import slow

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
TAU = 0.75


@pytest.mark.skipif(ALWAYS_KNOWN, reason="a row of few is an error")
def test_inference_with_masks_and_what_is_not_a_number():
    """As of samples: rows of few, of none, and NaN."""
    x = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 2.0], [0.0] * 3, [np.nan] * 3])
    x = x.astype("float32")
    mask = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    hard, soft = (
        # In a program, where the values of the mask are not known.
        to_numpy(
            in_mode("graph", kg.GumbelTopK(2, TAU, hard=hard).call)(
                tensor(x), tensor(mask)
            )
        )
        for hard in (True, False)
    )
    right = [[0, 1, 1], [0, 1, 0], [0, 0, 0], [np.nan] * 3]
    np.testing.assert_array_equal(hard, right)
    np.testing.assert_array_equal(soft[1:], right[1:])
    assert soft[0, 0] == 0
    np.testing.assert_allclose(soft[0, 1:].sum(), 2, rtol=1e-6)


@pytest.mark.parametrize("at", [1, *slow(0, 2)])
def test_a_gradient_at_inference_of_what_is_not_a_number(at):
    """Shows in its row, wherever it stands, and in no other."""
    x = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 2.0]], "float32")
    x[1, at] = np.nan
    gradient = grad(lambda x: keras.ops.sum(kg.GumbelTopK(2, TAU)(x) ** 2), x)
    assert np.isnan(gradient[1]).all()
    assert np.isfinite(gradient[0]).all()


def test_probabilities():
    probs = keras.ops.softmax(X[:, :3])
    probs = keras.ops.concatenate([probs, keras.ops.zeros((6, 2))], axis=1)
    y = kg.GumbelTopK(2, hard=True, from_logits=False, seed=1)(
        probs, training=True
    )
    np.testing.assert_array_equal(keras.ops.sum(y, axis=1), 2)
    np.testing.assert_array_equal(y[:, 3:], 0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("hard", [True, *slow(False)])
def test_inference_is_plain(hard):
    """No program of XLA's, so that every format can have it."""
    layer = kg.GumbelTopK(2, hard=hard)

    def program(training):
        run = tf.function(
            lambda x: layer(x, training=training), autograph=False
        )
        graph = run.get_concrete_function(tf.constant(X)).graph
        return str(graph.as_graph_def())

    assert "_XlaMustCompile" in program(training=True)
    assert "_XlaMustCompile" not in program(training=False)
    assert "Xla" not in program(training=False)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: kg.GumbelTopK(0), ValueError, "`k` must be at least 1"),
        (lambda: kg.GumbelTopK(1.5), TypeError, "`k` must be an integer"),
        (lambda: kg.GumbelTopK(2, axis=0.5), TypeError, "`axis` must be"),
        (
            lambda: kg.GumbelTopK(6)(X),
            ValueError,
            "Received: k=6, logits of shape (6, 5), axis=1",
        ),
        (
            lambda: kg.GumbelTopK(3)(keras.Input((2,))),
            ValueError,
            "Received: k=3, logits of shape (None, 2), axis=1",
        ),
        (
            lambda: kg.GumbelTopK(2)(X, class_mask=np.arange(5) == 1),
            ValueError,
            "a class_mask of shape (5,) in which 1 of 1 rows allow fewer",
        ),
    ],
)
def test_messages(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


class Select(keras.layers.Layer):
    """Features times a k-hot, of logits that are learned."""

    def __init__(self, choice):
        super().__init__()
        self.choice = choice

    def build(self, shape):
        self.logits = self.add_weight(shape=(1, shape[-1]), initializer="zeros")

    def call(self, x, training=None):
        logits = keras.ops.broadcast_to(self.logits, keras.ops.shape(x))
        return x * self.choice(logits, training=training)


@pytest.mark.slow
def test_it_finds_the_features_that_inform(seed):
    """Three of twelve, by `fit`; the others are noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2048, 12)).astype("float32")
    informative = [1, 6, 10]
    y = x[:, informative] @ np.array([[2.0], [-3.0], [2.5]], "float32")
    select = Select(kg.GumbelTopK(3, 0.5, hard=True, seed=seed))
    model = keras.Sequential([select, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    history = model.fit(x, y, batch_size=128, epochs=20, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    k_hot = select.choice(select.logits)
    assert np.flatnonzero(k_hot[0]).tolist() == informative
    assert model.evaluate(x, y, verbose=0) < 0.3 * np.var(y)


# ---------------------------------------------------------------------------
# A k for each row, of the call.
# ---------------------------------------------------------------------------

SIZES = np.array([0, 1, 2, 3, 3, 1])


@modes("graph")
@pytest.mark.parametrize("hard", [True, *slow(False)])
def test_a_call_has_a_k_for_each_row(mode, hard):
    """Of a sample and at inference: what the function gives for it."""
    layer = kg.GumbelTopK(3, TAU, hard=hard, seed=4)
    key = keras.random.SeedGenerator(4)
    right, _ = kg.ops.gumbel_top_k(X, SIZES, TAU, max_k=3, hard=hard, seed=key)

    def run(x, k, training):
        return layer(x, training=training, k=k)

    sample = in_mode(mode, lambda x, k: run(x, k, True))
    y = to_numpy(sample(tensor(X), tensor(SIZES)))
    np.testing.assert_allclose(y, to_numpy(right), rtol=1e-6, atol=1e-7)
    still = in_mode(mode, lambda x, k: run(x, k, False))
    y = to_numpy(still(tensor(X), tensor(SIZES)))
    right, _ = kg.ops.gumbel_top_k(
        X, SIZES, TAU, max_k=3, hard=hard, noise_scale=0.0
    )
    np.testing.assert_allclose(y, to_numpy(right), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(y.sum(-1), SIZES, rtol=1e-6)


@pytest.mark.parametrize("columns", [True, *slow(False)])
def test_a_functional_model_has_k_as_an_input(tmp_path, columns):
    """Trained, saved, loaded: and a model without it has k for all."""
    shape = (1,) if columns else ()
    k = keras.Input(shape, dtype="int32", name="k")
    x = keras.Input((5,), name="x")
    layer = kg.GumbelTopK(3, hard=True, seed=4, name="choice")
    model = keras.Model([x, k], layer(keras.layers.Dense(5)(x), k=k))
    model.compile("sgd", "mse")
    sizes = SIZES.reshape(-1, *shape).astype("int32")
    model.fit([X, sizes], np.zeros((6, 5)), verbose=0)
    y = model.predict([X, sizes], verbose=0)
    np.testing.assert_array_equal(y.sum(-1), SIZES)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict([X, sizes], verbose=0), y)
    other = keras.Model(x, layer(model.get_layer("dense")(x)))
    np.testing.assert_array_equal(other.predict(X, verbose=0).sum(-1), 3)


def test_a_k_with_the_mask_of_keras():
    """Of a row that it leaves few, all of them are taken."""
    padding = np.arange(5) < np.array([5, 5, 1, 2, 0, 3])[:, None]
    layer = kg.GumbelTopK(3, hard=True, seed=4)
    y = layer(tensor(X), mask=tensor(padding), k=SIZES, training=True)
    np.testing.assert_array_equal(
        np.sum(to_numpy(y), -1), np.minimum(SIZES, padding.sum(-1))
    )


def test_a_k_beside_given_noise():
    """Of a model that takes its noise as an input."""
    x, k = keras.Input((5,)), keras.Input((), dtype="int32")
    layer = kg.GumbelTopK(3, hard=True, name="choice")
    given = kg.export.with_noise_input(keras.Model([x, k], layer(x, k=k)))
    noise = np.random.default_rng(1).gumbel(size=X.shape).astype("float32")
    y = to_numpy(given([tensor(X), tensor(SIZES, "int32"), tensor(noise)]))
    order = np.argsort(-(X + noise))
    for row, size in enumerate(SIZES):
        assert set(np.flatnonzero(y[row])) == set(order[row, :size])


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        ([4] * 6, ValueError, "`k` must be between 0 and 3, the most that"),
        ([1.0] * 6, TypeError, "`k` must be an integer, or a tensor of"),
        ([1] * 5, ValueError, "`k` must broadcast to the rows"),
    ],
)
def test_messages_of_a_k_of_the_call(k, error, message):
    with pytest.raises(error, match=message):
        kg.GumbelTopK(3)(X, k=np.array(k), training=True)
