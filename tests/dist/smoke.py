"""A wheel, installed where its dependencies are and nothing else.

`make dist` runs it by that environment's interpreter, in a folder from which
the source cannot be imported.
"""

import importlib.metadata
import importlib.util
import platform
import sys
import tempfile
from pathlib import Path

EXTRAS = (
    *("tensorflow_probability", "tf_keras", "matplotlib", "plotly", "sklearn"),
    *("gymnasium", "onnx", "openvino", "ai_edge_litert", "pytest", "scipy"),
)


def installed() -> None:
    """The package is the wheel's, whole, and alone with what it needs."""
    import keras_gumbel as kg

    folder = Path(kg.__file__).parent
    assert folder.is_relative_to(sys.prefix), folder
    assert kg.__version__ == importlib.metadata.version("keras-gumbel")
    assert (folder / "py.typed").is_file()
    found = [name for name in EXTRAS if importlib.util.find_spec(name)]
    assert not found, f"more than the dependencies is installed: {found}"
    try:
        _ = kg.distributions.from_layer
    except ImportError as error:
        assert "keras-gumbel[probability]" in str(error), error
    else:
        raise AssertionError("no word of the extra that is missing")


def trains_and_comes_back(jit_compile: bool, folder: Path) -> None:
    """A model with a choice in it: `fit`, `.keras` and a SavedModel."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_gumbel as kg

    keras.utils.set_random_seed(0)
    x = np.eye(8, dtype="float32")[np.arange(512) % 8]
    layers = [
        keras.layers.Dense(16),
        kg.GumbelSoftmax(hard=True),
        keras.layers.Dense(8),
    ]
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile(keras.optimizers.Adam(0.03), "mse", jit_compile=jit_compile)
    schedule = kg.schedules.ExponentialAnnealing(1.0, 5e-3, 0.5)
    anneal = kg.TemperatureScheduler(schedule)
    history = model.fit(x, x, epochs=6, callbacks=[anneal], verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0], history
    assert 0.5 < history["temperature"][-1] < 0.7, history

    codes = keras.Sequential(model.layers[:2])(x).numpy()
    assert set(np.unique(codes)) == {0, 1}
    assert np.all(codes.sum(axis=1) == 1)

    expected = model(x).numpy()
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    np.testing.assert_array_equal(loaded(x), expected)
    kept, live = (m.layers[1].temperature.numpy() for m in (loaded, model))
    assert kept == live < 1

    model.export(str(folder / "served"), verbose=False)
    served = tf.saved_model.load(str(folder / "served"))
    np.testing.assert_allclose(served.serve(x), expected, rtol=1e-5, atol=1e-6)


def main() -> None:
    """All of it, and a line that says with what."""
    installed()
    for jit_compile in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            trains_and_comes_back(jit_compile, Path(folder))
    packages = ("keras-gumbel", "tensorflow", "keras", "numpy")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    print("The wheel works:", *versions, "Python", platform.python_version())


if __name__ == "__main__":
    main()
