"""What can leave TensorFlow, when Keras's `export` traces a call."""

from keras_gumbel import backend


def is_exported() -> bool:
    """Whether this call is traced to be written to a file."""
    return backend.export_format() is not None


def portable_format() -> str | None:
    """The format of that file, None for a SavedModel, which holds it all."""
    target = backend.export_format()
    return None if target == "saved_model" else target


def check_can_draw(name: str) -> None:
    """Raise where the layer of that name would draw, and the file cannot."""
    target = portable_format()
    if target is not None:
        raise ValueError(
            f"the format {target!r} has no random numbers that can be "
            "reproduced: export `keras_gumbel.export.with_noise_input(model)`, "
            "which takes the noise as an input, or a model whose layers have "
            "`inference=None`, or the format 'tf_saved_model'. "
            f"Received: a sampling layer, {name!r}"
        )
