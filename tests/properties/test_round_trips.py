"""A layer of any arguments comes back: from its config, and from a file."""

import inspect
import json

import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, as_array
from tests.properties.kinds import check
from tests.variants import slow

POSITIVE = st.floats(1e-5, 1e6)
RATES = st.floats(1e-6, 1.0)
SCHEDULES = st.one_of(
    st.builds(
        kg.schedules.ExponentialAnnealing,
        POSITIVE,
        RATES,
        st.floats(1e-6, 1e-5),
        every=st.integers(1, 1000),
    ),
    st.builds(
        keras.optimizers.schedules.ExponentialDecay,
        POSITIVE,
        st.integers(1, 1000),
        RATES,
        staircase=st.booleans(),
    ),
)
ESTIMATORS = st.one_of(
    st.sampled_from(["st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st"]),
    st.builds(kg.estimators.GumbelRao, num_samples=st.integers(1, 1000)),
    st.builds(kg.estimators.GappedStraightThrough, gap=POSITIVE),
)
# What a constructor may be given, by the name of the argument.
ARGUMENTS = {
    "temperature": POSITIVE | SCHEDULES,
    "estimator": ESTIMATORS,
    "inference": st.sampled_from([None, "sample"]),
    "noise_scale": st.floats(0, 100),
    "from_logits": st.booleans(),
    "seed": st.none() | st.integers(0, 2**31 - 2),
    "l0_weight": st.floats(0, 10) | SCHEDULES,
    "kl_weight": st.none() | st.floats(0, 10) | SCHEDULES,
    "stretch": st.tuples(st.floats(-1, -1e-3), st.floats(1.001, 2)),
    "num_iterations": st.integers(1, 100),
    "dtype": st.sampled_from(
        ["float32", "float64", "mixed_float16", "mixed_bfloat16"]
    ),
}


@st.composite
def layers(draw):
    """A row of the registry, and some arguments for it."""
    row = draw(st.sampled_from(LAYERS))
    known = {*inspect.signature(row.layer).parameters, "dtype"}
    # What makes the row, as `hard`, stays.
    free = known & {*ARGUMENTS} - {*row.variant}
    given = draw(
        st.fixed_dictionaries(
            {}, optional={name: ARGUMENTS[name] for name in sorted(free)}
        )
    )
    return row, given


def comes_back_from_its_config(example):
    row, given = example
    layer = row.create(**given)
    config = layer.get_config()
    assert row.layer.from_config(config).get_config() == config
    for name, value in given.items():
        if isinstance(value, int | float | bool):
            assert config[name] == value
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is row.layer
    assert again.get_config() == config


@pytest.mark.parametrize("examples", [20, *slow(500)])
def test_a_config_round_trip(examples, seed):
    check(comes_back_from_its_config, layers(), examples, seed)


def comes_back_from_a_file(folder, samples):
    def law(example):
        row, given = example
        model = row.model(**given)
        layer = model.get_layer("choice")
        x = np.abs(row.logits())
        if samples:
            model(x, training=True)
        layer.temperature.assign(0.3)
        model.save(folder / "model.keras")
        again = keras.models.load_model(folder / "model.keras")
        other = again.get_layer("choice")
        assert other.get_config() == layer.get_config()
        assert as_array(other.temperature) == as_array(layer.temperature)
        np.testing.assert_array_equal(
            as_array(other.seed_generator.state),
            as_array(layer.seed_generator.state),
        )
        for training in (False, True)[: 1 + samples]:
            np.testing.assert_array_equal(
                as_array(again(x, training=training)),
                as_array(model(x, training=training)),
            )

    return law


@pytest.mark.parametrize(
    ("examples", "samples"),
    [(2, False), pytest.param(25, True, marks=pytest.mark.slow)],
)
def test_a_round_trip_through_a_file(examples, samples, seed, tmp_path):
    """Weights, live temperature and stream; what is inferred and drawn."""
    law = comes_back_from_a_file(tmp_path, samples)
    check(law, layers(), examples, seed)
