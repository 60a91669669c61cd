"""What is of one framework alone.

    from tests.frameworks import tf

is TensorFlow for the tests that are marked `tensorflow`, which run nowhere
else; None on another framework.
"""

import importlib

import keras

on_tensorflow = keras.config.backend() == "tensorflow"
tf = importlib.import_module("tensorflow") if on_tensorflow else None
