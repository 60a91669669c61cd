"""Without torch no module here is collected."""

import keras

if keras.config.backend() != "torch":
    # Its other modules too, which are looked through for doctests.
    collect_ignore_glob = ["test_*.py", "training.py"]
