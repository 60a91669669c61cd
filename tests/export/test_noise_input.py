"""A model that is given its noise samples as the model itself does."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.variants import slow_rows

from .runtimes import export, run

BATCH, CLASSES = 64, 6


def logits():
    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH, CLASSES)).astype("float32")


def single(layer, **settings):
    return keras.Sequential([keras.Input((CLASSES,), **settings), layer])


@pytest.mark.parametrize(
    ("layer", "draw", "sample"),
    [
        (
            kg.GumbelSoftmax(0.5, noise_scale=0.3),
            kg.ops.sample_gumbel,
            lambda x: kg.ops.gumbel_softmax(x, 0.5, noise_scale=0.3, seed=7),
        ),
        (
            kg.GumbelTopK(2, 0.5, hard=True),
            kg.ops.sample_gumbel,
            lambda x: kg.ops.gumbel_top_k(x, 2, 0.5, hard=True, seed=7)[0],
        ),
        (
            kg.GumbelSigmoid(0.5, hard=True),
            kg.ops.sample_logistic,
            lambda x: kg.ops.gumbel_sigmoid(x, 0.5, hard=True, seed=7),
        ),
        (
            # The scores that are sorted are those without noise.
            kg.GumbelSort(0.5, output="sorted"),
            kg.ops.sample_gumbel,
            lambda x: keras.ops.einsum(
                "bij,bj->bi", kg.ops.gumbel_sort(x, 0.5, seed=7)[0], x
            ),
        ),
        *slow_rows(
            (
                kg.GumbelSoftmax(0.5, hard=True),
                kg.ops.sample_gumbel,
                lambda x: kg.ops.gumbel_softmax(x, 0.5, hard=True, seed=7),
            ),
            (
                kg.SampleArgmaxIndex(0.5, hard=True),
                kg.ops.sample_gumbel,
                lambda x: kg.ops.sample_argmax_index(x, 0.5, hard=True, seed=7),
            ),
            (
                kg.GumbelSigmoid(0.5),
                kg.ops.sample_logistic,
                lambda x: kg.ops.gumbel_sigmoid(x, 0.5, seed=7),
            ),
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_equals_the_sample_of_the_same_noise(layer, draw, sample):
    x = logits()
    given = kg.export.with_noise_input(single(layer))
    noise = np.asarray(draw(x.shape, seed=7))
    np.testing.assert_allclose(
        given([x, noise]), sample(x), rtol=1e-5, atol=1e-6
    )


def test_a_hard_concrete_gate():
    layer = kg.HardConcreteGate(log_alpha_initializer="random_normal")
    given = kg.export.with_noise_input(single(layer))
    noise = np.asarray(kg.ops.sample_logistic((BATCH, CLASSES), seed=7))
    log_alpha = np.broadcast_to(layer.log_alpha, (BATCH, CLASSES))
    z = kg.ops.hard_concrete(log_alpha, float(layer.temperature), seed=7)
    x = logits()
    np.testing.assert_allclose(given([x, noise]), x * z, rtol=1e-5, atol=1e-6)


def nested():
    """A layer that is used twice, in a model in a model, and one more."""
    choice = kg.GumbelSoftmax(hard=True, name="choice")
    inner = keras.Sequential([keras.Input((CLASSES,)), choice])
    a, b = keras.Input((CLASSES,), name="a"), keras.Input((CLASSES,), name="b")
    both = keras.layers.Concatenate()([inner(a), inner(b)])
    gate = kg.GumbelSigmoid(hard=True, name="gate")(both)
    return keras.Model(
        {"a": a, "b": b}, [both, keras.layers.Dropout(0.5)(gate)]
    )


def test_each_call_of_each_layer_has_its_noise():
    given = kg.export.with_noise_input(nested())
    assert [x.name for x in given.inputs] == [
        "a",
        "b",
        "choice_noise",
        "choice_noise_2",
        "gate_noise",
    ]
    rng = np.random.default_rng(1)
    a, b = logits(), -logits()
    first, second = (rng.gumbel(size=(2, BATCH, CLASSES))).astype("float32")
    third = rng.logistic(size=(BATCH, 2 * CLASSES)).astype("float32")
    both, gate = map(np.asarray, given([a, b, first, second, third]))
    chosen = both.reshape(BATCH, 2, CLASSES).argmax(axis=2)
    np.testing.assert_array_equal(chosen[:, 0], (a + first).argmax(axis=1))
    np.testing.assert_array_equal(chosen[:, 1], (b + second).argmax(axis=1))
    np.testing.assert_array_equal(gate, both + third > 0)


def test_is_saved_and_loaded(tmp_path):
    given = kg.export.with_noise_input(nested())
    inputs = [np.ones((4, *x.shape[1:]), "float32") for x in given.inputs]
    given.save(tmp_path / "given.keras")
    loaded = keras.models.load_model(tmp_path / "given.keras")
    for mine, other in zip(given(inputs), loaded(inputs), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_shares_the_weights_and_leaves_the_model_as_it_was():
    dense = keras.layers.Dense(3, kernel_initializer="ones")
    choice = kg.GumbelSoftmax()
    model = keras.Sequential([keras.Input((CLASSES,)), dense, choice])
    given = kg.export.with_noise_input(model)
    noise = np.zeros((BATCH, 3), "float32")
    before = np.asarray(given([logits(), noise]))
    np.testing.assert_allclose(before, 1 / 3, rtol=1e-6)
    dense.kernel.assign(np.eye(CLASSES)[:, :3])
    np.testing.assert_allclose(
        given([logits(), noise]), model(logits()), rtol=1e-6
    )
    assert np.ptp(given([logits(), noise])) > 0.1


@pytest.mark.tensorflow
def test_a_layer_that_samples_at_inference_is_exported(tmp_path):
    """The model alone would be refused, and is not looked at alone."""
    given = kg.export.with_noise_input(
        single(kg.GumbelSoftmax(hard=True, inference="sample"), name="x")
    )
    noise = np.random.default_rng(1).gumbel(size=(BATCH, CLASSES))
    feeds = [logits(), noise.astype("float32")]
    found = run(export(given, "onnx", tmp_path), feeds)
    np.testing.assert_array_equal(found, given(feeds))


def test_float64_stays_so():
    choice = kg.GumbelSoftmax(dtype="float64")
    given = kg.export.with_noise_input(single(choice, dtype="float64"))
    x = logits().astype("float64") + 1e8
    y = np.asarray(given([x, np.zeros_like(x)]))
    right = np.exp(x - x.max(axis=1, keepdims=True))
    right /= right.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(y, right, rtol=1e-12)


def test_a_subclassed_model():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.choice = kg.GumbelSoftmax(hard=True, name="choice")

        def call(self, inputs, training=None):
            return self.choice(2 * inputs, training=training)

    model = Own()
    model(logits())
    given = kg.export.with_noise_input(model)
    noise = np.random.default_rng(1).gumbel(size=(BATCH, CLASSES))
    output = given([logits(), noise.astype("float32")])
    np.testing.assert_array_equal(
        np.argmax(output, axis=1), np.argmax(2 * logits() + noise, axis=1)
    )


@pytest.mark.parametrize(
    "function",
    [
        kg.export.with_noise_input,
        kg.export.with_seed_input,
        lambda model: kg.export.export_with_sampling(model, "never"),
    ],
    ids=["with_noise_input", "with_seed_input", "export_with_sampling"],
)
def test_what_is_no_model_that_samples_is_refused(
    function, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"`model` must be.*Received: model=3"):
        function(3)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must have a sampling layer"):
        function(dense)
    with pytest.raises(ValueError, match="built"):
        function(keras.Sequential([kg.GumbelSoftmax()]))
    assert [*tmp_path.iterdir()] == []
