"""Traces of a layer's call: a count, and a loss."""

from keras_gumbel.backend import (
    fetch_and_add as fetch_and_add,
    hand_on as hand_on,
)
