"""What Keras lacks on torch."""

import keras
import pytest

import keras_gumbel as kg


def test_no_saved_model_without_tensorflow(tmp_path):
    """In the table of backends; once Keras can, this fails."""
    choice = kg.GumbelSoftmax(0.5, hard=True)
    model = keras.Sequential([keras.Input((7,)), choice])
    with pytest.raises((ImportError, NotImplementedError, ValueError)):
        model.export(tmp_path / "model", format="tf_saved_model")
