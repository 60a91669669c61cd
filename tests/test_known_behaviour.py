"""What docs/known_behaviour.md says of Keras, and that its remedies help.

If one of these fails, the page has to change.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import as_array

LOGITS = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")


def same(some, others):
    return np.array_equal(as_array(some), as_array(others))


def draw(layer):
    return layer(LOGITS, training=True)


def test_a_call_without_training_is_inference():
    layer = kg.GumbelSoftmax(hard=True, seed=1)
    mode = np.eye(5)[LOGITS.argmax(-1)]
    for _ in range(2):
        assert same(layer(LOGITS), mode)
        assert not same(draw(layer), mode)
    model = keras.Sequential([layer])
    assert same(model(LOGITS), mode)
    assert same(model.predict(LOGITS, verbose=0), mode)
    sampler = kg.GumbelSoftmax(hard=True, seed=1, inference="sample")
    assert not same(sampler(LOGITS), mode)


@pytest.mark.parametrize(
    "create",
    [
        lambda seed: keras.layers.Dropout(0.5, seed=seed),
        lambda seed: kg.GumbelSoftmax(seed=seed),
    ],
    ids=["Dropout", "GumbelSoftmax"],
)
def test_one_integer_for_two_layers_is_one_noise(create):
    assert same(draw(create(7)), draw(create(7)))
    assert not same(draw(create(7)), draw(create(8)))


def test_layers_of_one_generator_draw_in_turn():
    generator = keras.random.SeedGenerator(7)
    some, others = (kg.GumbelSoftmax(seed=generator) for _ in range(2))
    assert not same(draw(some), draw(others))


@pytest.mark.tensorflow
@pytest.mark.parametrize("recompute", [keras.remat, tf.recompute_grad])
def test_dropout_under_remat_drops_others_in_the_gradient(recompute):
    """Of 1000 units; by chance alike in all: 2**-1000."""

    def kept(wrap):
        layer = keras.layers.Dropout(0.5, seed=1)
        x = tf.Variable(tf.ones(1000))
        with tf.GradientTape() as tape:
            y = wrap(lambda x: layer(x, training=True))(x * 1.0)
        return as_array(y) > 0, as_array(tape.gradient(y, x)) > 0

    assert same(*kept(lambda function: function))
    assert not same(*kept(recompute))


@pytest.mark.tensorflow
class TestTimeDistributed:
    def mapped(self, layer, wrap=keras.layers.TimeDistributed):
        """Over a length that the graph does not know."""
        outer = wrap(layer)
        function = tf.function(
            lambda x: outer(x, training=True),
            input_signature=[tf.TensorSpec((6, None, 50))],
        )
        return as_array(function(tf.ones((6, 6, 50))))

    def test_dropout_has_one_mask_for_all_steps(self):
        """Two masks of 50 units are alike by chance in 2**-50."""
        masks = self.mapped(keras.layers.Dropout(0.5, seed=1))
        assert same(masks, np.repeat(masks[:, :1], 6, axis=1))
        assert not same(masks[0], masks[1])

    @pytest.mark.parametrize(
        "wrap", [keras.layers.TimeDistributed, lambda layer: layer]
    )
    def test_ours_have_noise_of_its_own_for_each(self, wrap):
        samples = self.mapped(kg.GumbelSoftmax(seed=1), wrap=wrap)
        assert samples.shape == (6, 6, 50)
        assert not np.allclose(samples[:, 0], samples[:, 1])


@pytest.mark.parametrize(
    ("name", "goes_on"), [("model.keras", True), ("model.h5", False)]
)
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_a_legacy_file_has_the_temperature_and_no_stream(
    name, goes_on, tmp_path
):
    model = keras.Sequential([keras.Input((5,)), kg.GumbelSoftmax(seed=7)])
    model.layers[0].temperature = 0.25
    first = draw(model)
    model.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    assert as_array(loaded.layers[0].temperature) == 0.25
    assert same(draw(loaded), draw(model) if goes_on else first)


def test_a_lambda_is_refused_in_safe_mode(tmp_path):
    made = {
        "lambda": keras.layers.Lambda(lambda x: kg.ops.gumbel_softmax(x)),
        "layer": kg.GumbelSoftmax(),
    }
    for name, layer in made.items():
        keras.Sequential([keras.Input((5,)), layer]).save(
            tmp_path / f"{name}.keras"
        )
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.models.load_model(tmp_path / "lambda.keras")
    unsafe = keras.models.load_model(tmp_path / "lambda.keras", safe_mode=False)
    with pytest.raises(NameError, match="kg"):
        unsafe(LOGITS)
    assert keras.models.load_model(tmp_path / "layer.keras")(LOGITS).shape
    # Nor does it know of inference.
    assert not same(made["lambda"](LOGITS), made["lambda"](LOGITS))
