"""What is of another framework than Keras is set to is left alone."""

import keras

collect_ignore_glob = [
    f"keras_gumbel/backend/{name}/*"
    for name in ("tensorflow", "jax", "torch")
    if name != keras.config.backend()
]
if keras.config.backend() != "tensorflow":
    collect_ignore_glob.append("keras_gumbel/distributions/*")
