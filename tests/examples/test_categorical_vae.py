import re

import numpy as np

from .reading import ink


def test_categorical_vae(run, tmp_path):
    output = run("categorical_vae.py", "--output", tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"

    elbo, no_code = map(
        float,
        re.search(r"ELBO (\S+) nats, without code (\S+)", output).groups(),
    )
    # One epoch of the ten; a probability of counts is at most one.
    assert no_code + 50 < elbo < 0
    assert "temperature: 0.3000" in output

    difference = re.search(r"TensorFlow alone, .* difference (\S+)", output)
    assert float(difference[1]) <= 1e-6
    assert (folder / "categorical_vae" / "saved_model.pb").is_file()

    for row in np.array_split(ink(folder / "categorical_vae.png"), 3):
        assert row.std() > 0.1
