"""Raise what a call with symbolic tensors would, if these had values."""

from keras_gumbel.backend import trace as trace
