"""The checks that Keras runs over its own layers."""

import keras
import pytest

from tests.conformance.registry import LAYERS, TRAINED, each_of
from tests.keras_harness import run_layer_test
from tests.variants import slow

TORCH = keras.config.backend() == "torch"


@pytest.mark.skipif(TORCH, reason="Keras counts any tensor as a weight")
@each_of(LAYERS, gate=TRAINED[::2])
@pytest.mark.parametrize("inference", [None, *slow("sample")])
def test_keras_own_layer_test_passes(row, inference):
    run_layer_test(
        row.layer,
        {**row.variant, "inference": inference, "seed": 3},
        input_shape=row.input_shape,
        expected_output_shape=row.output_shape,
        expected_num_trainable_weights=row.trained_weights,
        expected_num_non_trainable_weights=row.weights,
        expected_num_seed_generators=1,
        expected_num_losses=row.losses,
        supports_masking=True,
        # The harness expects the compute dtype of every output.
        run_mixed_precision_check=not row.is_index,
        assert_built_after_instantiation=False,
    )


def test_the_harness_can_fail():
    class Wrong(keras.layers.Layer):
        def call(self, x):
            return x

        def compute_output_shape(self, shape):
            return (*shape, 1)

    with pytest.raises(AssertionError):
        run_layer_test(
            Wrong,
            {},
            input_shape=(2, 3),
            expected_output_shape=(2, 3),
            custom_objects={"Wrong": Wrong},
        )
