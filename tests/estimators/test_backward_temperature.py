"""The temperature of a rule's own: a number, a tensor, a schedule."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.ops import _program
from tests.harness import gradients, in_mode, modes, tensor, to_numpy
from tests.variants import slow

X = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
DY = np.random.default_rng(1).normal(size=(6, 5)).astype("float32")
TABLE = np.random.default_rng(2).normal(size=(5, 5)).astype("float32")

FUNCTIONS = {
    "softmax": lambda x, rule: kg.ops.gumbel_softmax(
        x, 2.0, hard=True, estimator=rule, seed=3
    ),
    "sigmoid": lambda x, rule: kg.ops.gumbel_sigmoid(
        x, 2.0, hard=True, estimator=rule, seed=3
    ),
    "embedding": lambda x, rule: kg.ops.sample_embedding(
        x, tensor(TABLE), 2.0, estimator=rule, seed=3
    ),
}
RULES = ("st_gumbel", *slow("st", "reinmax", "gapped_st", "gumbel_rao"))
DECAY = keras.optimizers.schedules.ExponentialDecay(2.0, 1, 0.5)


def rule_of(name, temperature):
    return type(kg.estimators.get(name))(backward_temperature=temperature)


@modes("eager", "graph")
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_tensor_gives_what_its_number_gives(function, name, mode):
    sample = FUNCTIONS[function]

    def by_tensor(tau):
        return in_mode(
            mode,
            lambda x: sample(x, rule_of(name, tau)),
        )

    expected = gradients(
        lambda x: sample(x, rule_of(name, 0.7)), X, upstream=DY
    )
    tau = keras.Variable(0.7, dtype="float32", trainable=False)
    for one in (tensor(0.7), tau):
        found = gradients(by_tensor(one), X, upstream=DY)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    other = gradients(lambda x: sample(x, rule_of(name, 0.3)), X, upstream=DY)[
        1
    ]
    assert np.abs(other - expected[1]).max() > 1e-3


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_value_makes_another_program(function):
    sample = FUNCTIONS[function]
    gradients(lambda x: sample(x, rule_of("st_gumbel", 0.9)), X, upstream=DY)
    before = _program._rule.cache_info().currsize
    for tau in (0.1, 0.2, tensor(0.3), tensor(0.4)):
        gradients(
            lambda x, tau=tau: sample(x, rule_of("st_gumbel", tau)),
            X,
            upstream=DY,
        )
    assert _program._rule.cache_info().currsize == before


@pytest.mark.parametrize(
    "cls",
    [kg.GumbelSoftmax, *slow(kg.SampleArgmaxIndex, kg.GumbelSigmoid)],
)
def test_a_layer_follows_a_schedule(cls, tmp_path):
    """By its training calls, from a file on too."""
    rule = kg.estimators.StraightThrough(backward_temperature=DECAY)
    layer = cls(hard=True, estimator=rule, seed=1)
    model = keras.Sequential([keras.Input((5,)), layer])

    def step(model):
        def loss(x):
            y = model(x, training=True)
            return y * tensor(DY) if len(y.shape) == 2 else y

        return gradients(loss, X)

    found = [step(model) for _ in range(3)]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    found += [step(again), step(again)]
    for n, (y, dx) in enumerate(found):
        plain = cls(hard=True, estimator=rule_of("st", float(DECAY(n))), seed=1)
        for _ in range(n):
            plain(X, training=True)
        expected = step(plain)
        np.testing.assert_array_equal(y, expected[0])
        np.testing.assert_allclose(dx, expected[1], atol=1e-6)
    assert found[0][1].any()
    config = again.layers[-1].get_config()
    loaded = cls.from_config(config).estimator.backward_temperature
    assert loaded.get_config() == DECAY.get_config()


@pytest.mark.slow
def test_a_quantizer_follows_a_schedule_in_fit():
    layer = kg.GumbelQuantizer(
        4,
        2,
        estimator=kg.estimators.ReinMax(backward_temperature=DECAY),
        seed=1,
    )
    model = keras.Sequential([keras.Input((5,)), layer])
    model.compile("sgd", "mse")
    model.fit(X, X[:, :2], batch_size=2, epochs=2, verbose=0)
    now = layer.current_estimator.backward_temperature
    assert to_numpy(now) == pytest.approx(float(DECAY(5)))
    model.evaluate(X, X[:, :2], verbose=0)
    assert to_numpy(now) == pytest.approx(float(DECAY(5)))
