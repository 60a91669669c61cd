"""A model that is given a seed draws what its layers draw themselves."""

import keras
import numpy as np

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, ONE_OF_EACH, as_array, each_of
from tests.harness import tensor

# Its upper half is negative as int32.
SEED = 2**32 - 5


def seed_of(a, t):
    return tensor(np.array([a, t], "uint32").view("int32"))


def model_of(row, **settings):
    if not row.square:
        return row.model(**settings)
    # Where no size is known Keras tries one, and matrices are square.
    inputs = keras.Input(row.input_shape[1:])
    return keras.Model(inputs, row.create(**settings)(inputs))


# The best permutation is a search with loops, compiled for each of two sizes.
@each_of(LAYERS, gate=ONE_OF_EACH)
def test_call_t_is_sample_t_of_the_layer(row):
    """Hard samples to the last bit, soft ones to 5e-6; and each is another.

    This is a fixed computation: there is no chance that it fails.
    """
    model = model_of(
        row, temperature=0.5, noise_scale=0.7, inference="sample", seed=SEED
    )
    given = kg.export.with_seed_input(model)
    x = tensor(row.logits())
    samples = []
    for t in range(3):
        expected = as_array(model(x))
        samples.append(as_array(given([x, seed_of(SEED, t)])))
        if row.hard:
            np.testing.assert_array_equal(samples[t], expected)
        else:
            np.testing.assert_allclose(samples[t], expected, atol=5e-6)
        assert row.is_sample(samples[t])
    assert not np.array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[1], samples[2])
    # A row draws by its place alone.
    some = as_array(given([x[:2], seed_of(SEED, 1)]))
    np.testing.assert_allclose(some, samples[1][:2], rtol=1e-6, atol=1e-6)


@each_of(LAYERS, gate=("GumbelSoftmax-hard", "VectorQuantizer-st_gumbel"))
def test_is_saved_and_loaded(row, tmp_path):
    given = kg.export.with_seed_input(model_of(row))
    x, seed = tensor(row.logits()), seed_of(7, 2)
    given.save(tmp_path / "given.keras")
    loaded = keras.models.load_model(tmp_path / "given.keras")
    np.testing.assert_array_equal(
        as_array(loaded([x, seed])), as_array(given([x, seed]))
    )
