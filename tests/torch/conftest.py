"""Without torch no module here is collected."""

import keras

if keras.config.backend() != "torch":
    collect_ignore_glob = ["test_*.py"]
