"""Programs of `torch.export`."""

import keras
import numpy as np
import pytest
import torch

import keras_gumbel as kg

X = torch.tensor(
    np.random.default_rng(0).normal(size=(3, 7)), dtype=torch.float32
)


def exported(model, *args):
    model(*args)
    return torch.export.export(model, args, strict=False).module()


def model(**settings):
    choice = kg.GumbelSoftmax(0.7, hard=True, seed=1, **settings)
    return keras.Sequential([keras.Input((7,)), choice])


def test_a_model_in_inference():
    made = model()
    np.testing.assert_array_equal(exported(made, X)(X), made(X))


def test_noise_as_an_input():
    given = kg.export.with_noise_input(model())
    noise = torch.tensor([[5.0, *[0.0] * 6]] * 3)
    program = exported(given, [X, noise])
    np.testing.assert_array_equal(program([X, noise]), given([X, noise]))
    np.testing.assert_array_equal(
        program([X, -noise]).argmax(-1), (X - noise).argmax(-1)
    )


@pytest.mark.parametrize("estimator", ["st_gumbel", "reinmax"])
def test_a_seed_as_an_input(estimator):
    """By the portable arithmetic, with the samples of the layer."""
    made = model(inference="sample", estimator=estimator)
    given = kg.export.with_seed_input(made)
    program = exported(given, [X, torch.tensor([1, 0], dtype=torch.int32)])
    for t in range(3):
        seed = torch.tensor([1, t], dtype=torch.int32)
        np.testing.assert_array_equal(program([X, seed]), made(X))


def test_a_model_that_samples_goes_on_with_its_stream():
    """By arithmetic alone, with the samples of the layer."""
    made, same = model(inference="sample"), model(inference="sample")
    program = exported(made, X)
    same(X)
    for _ in range(3):
        np.testing.assert_array_equal(program(X), same(X))
