"""Lasting effects of a layer's call: counts, states and losses."""

from keras_gumbel.backend import (
    fetch_and_add as fetch_and_add,
    hand_on as hand_on,
    value_once as value_once,
)
