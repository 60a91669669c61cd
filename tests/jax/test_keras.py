"""Faults of Keras on JAX that `docs/backends.md` tells of, while they last."""

import keras


def test_integers_are_floats_where_floats_are_bfloat16():
    assert "int" in str(keras.ops.convert_to_tensor(3).dtype)
    keras.config.set_floatx("bfloat16")
    assert "float" in str(keras.ops.convert_to_tensor(3).dtype)
