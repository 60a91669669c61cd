"""Every layer in forward mode: as in reverse mode, or an error that says so."""

import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import LAYERS
from tests.directional import PLACES, by_reverse_mode

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
pytestmark = pytest.mark.tensorflow

# Of these no backward pass can be differentiated, which forward mode does.
_BACKWARD_ONLY = (
    kg.GumbelEmbedding,
    kg.GumbelSinkhorn,
    kg.GumbelSort,
    kg.GumbelTopK,
)
_GATE = {
    ("GumbelSoftmax-hard", "argmax", "eager"),
    ("GumbelSigmoid-hard", "argmax", "eager"),
    ("GumbelQuantizer-hard", "argmax", "eager"),
    ("GumbelSoftmax-hard", "argmax", "within a graph"),
    ("HardConcreteGate-soft", "sample", "eager"),
}


def _modes(row):
    modes = {*row.create()._inference_modes} - {None}
    return sorted(modes)


def _cases():
    """Neighbours in the list of rows and modes share the places."""
    modes = [(row, mode) for row in LAYERS for mode in _modes(row)]
    for number, (row, mode) in enumerate(modes):
        for turn, place in enumerate(PLACES):
            slow = (str(row), mode, place) not in _GATE
            if not slow or (number + turn) % 2 == 0:
                yield pytest.param(
                    row,
                    mode,
                    place,
                    marks=[pytest.mark.slow] if slow else [],
                    id=f"{row}-{mode}-{place}",
                )


@pytest.mark.parametrize(("row", "mode", "place"), list(_cases()))
def test_forward_mode(row, mode, place):
    layer = row.create(inference=mode)
    logits = tf.constant(row.logits())
    layer(logits)

    def function(x):
        # The same sample each time.
        layer.seed_generator.state.assign([1, 0])
        return layer(x)

    primals = (logits,)
    tangents = (tf.constant(row.logits()[::-1].copy()),)
    run = PLACES[place](function)
    expected = by_reverse_mode(function, primals, tangents)
    try:
        found = run(primals, tangents)
    except LookupError as error:
        if not _may_refuse(row, mode) or "ForwardAccumulator" not in str(error):
            raise
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def _may_refuse(row, mode):
    is_row = row.layer in (kg.GumbelQuantizer, kg.VectorQuantizer)
    return (is_row and mode == "sample") or row.layer in _BACKWARD_ONLY
