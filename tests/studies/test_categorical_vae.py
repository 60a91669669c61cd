import re
import subprocess
import sys

import numpy as np
import pytest

from .reading import ink

SERVE = """
import sys, numpy as np, tensorflow as tf
x, expected = np.load(sys.argv[1] + "/check.npy")
loaded = tf.saved_model.load(sys.argv[1] + "/categorical_vae")
assert np.abs(loaded.serve(x) - expected).max() <= 1e-6
assert "keras_gumbel" not in sys.modules
"""


@pytest.mark.slow
def test_categorical_vae(run, tmp_path):
    output = run("categorical_vae.py", "--output", tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"

    number = r"(-[\d.]+)"
    row = rf"^(maddison|jang): discrete {number}, jang {number}, "
    row += rf"maddison {number}, without code {number} nats$"
    found = {
        name: list(map(float, row))
        for name, *row in re.findall(row, output, re.M)
    }
    assert [*found] == ["maddison", "jang"]
    for name, (discrete, _, relaxed, no_code) in found.items():
        # One epoch of the ten; a probability of counts is at most one.
        assert no_code + 50 < discrete < 0
        # The divergence of discrete laws charges relaxed codes for too little.
        assert discrete + 3 < found[name][1] < 0
        assert relaxed < found[name][1]
    # Each is the better by what it was trained by.
    assert found["jang"][0] > found["maddison"][0] + 10
    assert found["maddison"][2] > found["jang"][2] + 10
    assert output.count("temperature: 0.5000") == 2

    difference = re.search(r"exported model, .* difference (\S+)", output)
    assert float(difference[1]) <= 1e-6
    assert (folder / "categorical_vae" / "saved_model.pb").is_file()
    # In a process that has TensorFlow alone.
    subprocess.run([sys.executable, "-I", "-c", SERVE, folder], check=True)

    for row in np.array_split(ink(folder / "categorical_vae.png"), 3):
        assert row.std() > 0.1
