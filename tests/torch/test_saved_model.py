"""What Keras lacks on torch."""

import keras
import pytest

import keras_gumbel as kg

WAYS = {
    "the model's own": lambda model, path: model.export(path, verbose=False),
    "with sampling": kg.export.export_with_sampling,
}


@pytest.mark.parametrize("way", WAYS)
def test_no_saved_model_without_tensorflow(way, tmp_path):
    """In the table of backends; once Keras can, this fails."""
    choice = kg.GumbelSoftmax(0.5, hard=True)
    model = keras.Sequential([keras.Input((7,)), choice])
    with pytest.raises(ImportError, match="tensorflow"):
        WAYS[way](model, str(tmp_path / "model"))
