"""Every dtype policy: the dtype, the exactness, and finite gradients."""

import keras
import numpy as np

from tests.conformance.registry import (
    LAYERS,
    ONE_OF_EACH,
    as_array,
    covering,
    each_of,
)
from tests.harness import tensor, value_and_grad

POLICIES = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "mixed_float16": "float16",
    "mixed_bfloat16": "bfloat16",
    "float64": "float64",
}
# The two that take longest to compile have rows of their own in `tests/ops`.
GATE = [name for name in ONE_OF_EACH if "TopK" not in name]
GATE = [name for name in GATE if "Sinkhorn" not in name]


@covering(LAYERS, "policy", POLICIES, gate=GATE)
def test_dtype_and_sample(row, policy):
    layer = row.create(seed=3, dtype=policy)
    dtype = POLICIES[policy]
    logits = keras.ops.cast(row.logits(), dtype)
    for training in (True, False):
        y = layer(logits, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == (
            row.expected_dtype(dtype)
        )
        assert row.is_sample(as_array(y))
    assert layer.temperature.dtype == "float32"


@covering(LAYERS, "policy", POLICIES, gate=GATE)
def test_gradient_is_finite_at_low_temperature_and_large_logits(row, policy):
    layer = row.create(seed=3, dtype=policy, temperature=1e-3)
    for scale in (1.0, 1e4):
        logits = keras.ops.cast(row.logits() * scale, POLICIES[policy])
        for training in (True, False):
            y, (gradient,) = value_and_grad(
                lambda x, training=training: layer(x, training=training),
                logits,
                upstream=np.ones(row.output_shape) / 2,
            )
            assert gradient.dtype == logits.dtype
            assert np.isfinite(as_array(y)).all()
            assert np.isfinite(as_array(gradient)).all()


@covering(
    [
        row
        for row in LAYERS
        # Sorted scores are rounded themselves.
        if row.takes_logits and row.variant.get("output") != "sorted"
    ],
    "policy",
    ["mixed_float16", "mixed_bfloat16"],
    gate=[*GATE, "GumbelTopK-hard"],
)
def test_float32_logits_are_not_rounded_on_the_way_in(row, policy):
    """Under a mixed policy Keras would cast them to half precision."""
    logits = np.array([[[2.0, 2.0002, 0.0, 0.0, 0.0]]], "float32")
    # As many as are chosen beside it.
    logits[..., 2 : 1 + row.k] = 3.0
    options = {"inference": "argmax", "noise_scale": 0.0, "dtype": policy}
    if row.is_gates:
        # A probability just above the 1/2 that it would be rounded to.
        logits = tensor([[[0.4, 0.5001, 0.4, 0.4, 0.4]]])
        options["from_logits"] = False
    if row.square:
        # In which half precision sees five equal rows.
        rows = keras.ops.arange(5, dtype="float32")
        logits = 2.0 + 5e-5 * keras.ops.flip(rows)[:, None] * rows
    layer = row.create(**options)
    y = as_array(layer(logits))
    if row.square:
        np.testing.assert_array_equal(y.argmax(-1), [4, 3, 2, 1, 0])
    else:
        if row.padding == "places":
            y = y[..., 0, :]  # The first place is that of class 1.
        elif row.variant.get("output") == "ranks":
            y = y[..., 0]
        chosen = y if row.is_index else y[..., 1]
        np.testing.assert_array_equal(chosen, [[1]])


@each_of(LAYERS, gate=("HardConcreteGate-soft",))
def test_mixed_policy_trains(row):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = row.model(seed=3)
        optimizer = keras.optimizers.Adam(0.1)
        model.compile(optimizer, "mean_squared_error", jit_compile=False)
    finally:
        keras.config.set_dtype_policy("float32")
    x = row.logits(batch=16)
    before = model.get_layer("dense").get_weights()
    target = np.zeros((16, *row.output_shape[1:]), "float32")
    history = model.fit(x, target, epochs=2, verbose=0)
    after = model.get_layer("dense").get_weights()
    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(after[0]).all()
    assert not np.array_equal(before[0], after[0])
