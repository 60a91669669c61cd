"""What is of another framework than Keras is set to is left alone."""

import keras

collect_ignore_glob = [
    f"keras_gumbel/backend/{name}/*"
    for name in ("tensorflow", "jax", "torch")
    if name != keras.config.backend()
]
if keras.config.backend() != "tensorflow":
    collect_ignore_glob += [
        "keras_gumbel/distributions/*",
        # Of SavedModels.
        "keras_gumbel/export/sampling_endpoint.py",
    ]
if keras.config.backend() == "jax":
    # Keras's trainer has no metric there that is updated in a call.
    collect_ignore_glob.append("keras_gumbel/metrics/code_perplexity.py")
