"""Samples and gradients that every backend gives, and a file of each.

    KERAS_BACKEND=tensorflow python -m tests.golden

writes `fixtures/golden/tensorflow.npz`, `.keras` and `-backup`, and so for the
others.
`tests/test_golden.py` holds each backend to what every one has written.
"""

import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_gumbel as kg
from tests.harness import gradients, to_numpy

FOLDER = Path(__file__).parent / "fixtures" / "golden"
NAMES = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")


def _arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


X, DX, LONG, D_LONG, MATRICES, D_MATRICES, TABLE, D_ROWS, D_ORDERS = _arrays(
    (6, 3, 12),
    (6, 3, 12),
    (20, 700),
    (20, 700),
    (5, 6, 6),
    (5, 6, 6),
    (12, 5),
    (6, 3, 5),
    (6, 3, 6, 6),
)
MASK = np.random.default_rng(1).uniform(size=X.shape) < 0.7
TAU = np.float32(0.7)


def _cases():
    """Name -> (function of tensors, its arguments, the gradient, is hard)."""
    ops = kg.ops
    for rule in NAMES:
        hard = {"hard": True, "estimator": rule, "seed": 3}
        for name, x, dx in (("", X, DX), (" of many", LONG, D_LONG)):
            yield (
                f"one-hot{name} {rule}",
                lambda x, t, k=hard: ops.gumbel_softmax(x, t, **k),
                (x, TAU),
                dx,
                True,
            )
        yield (
            f"masked {rule}",
            lambda x, t, k=hard: ops.gumbel_softmax(
                x, t, axis=1, class_mask=MASK, **k
            ),
            (X, TAU),
            DX,
            True,
        )
        yield (
            f"gates {rule}",
            lambda x, t, k=hard: ops.gumbel_sigmoid(x, t, **k),
            (X, TAU),
            DX,
            True,
        )
        yield (
            f"rows {rule}",
            lambda x, t, w, rule=rule: ops.sample_embedding(
                x, w, t, estimator=rule, seed=3
            ),
            (X, TAU, TABLE),
            D_ROWS,
            True,
        )
    for name, function, args, dy, hard in (
        ("softmax", ops.gumbel_softmax, (X, TAU), DX, False),
        ("sigmoid", ops.gumbel_sigmoid, (X, TAU), DX, False),
        ("index", ops.sample_argmax_index, (X, TAU), DX[..., 0], False),
        ("hard concrete", ops.hard_concrete, (X, TAU), DX, False),
        ("matrices", ops.gumbel_sinkhorn, (MATRICES, TAU), D_MATRICES, False),
    ):
        sample = lambda x, t, f=function: f(x, t, seed=3)  # noqa: E731
        yield name, sample, args, dy, hard
    for hard in (False, True):
        yield (
            f"subsets {hard}",
            lambda x, t, hard=hard: ops.gumbel_top_k(
                x, 4, t, hard=hard, seed=3
            )[0],
            (X, TAU),
            DX,
            hard,
        )
        yield (
            f"orders {hard}",
            lambda x, t, hard=hard: ops.gumbel_sort(x, t, hard=hard, seed=3)[0],
            (X[..., :6], TAU),
            D_ORDERS,
            hard,
        )
    for name, function, hard in (
        (
            "given number",
            lambda x: ops.conditional_poisson_subset(x, 4, seed=3),
            True,
        ),
        ("marginals", lambda x: ops.conditional_poisson_marginals(x, 4), False),
    ):
        yield name, function, (X,), DX, hard
    yield (
        "permutations",
        lambda x, t: ops.gumbel_sinkhorn(x, t, hard=True, seed=3),
        (MATRICES, TAU),
        D_MATRICES,
        True,
    )


CASES = {name: case for name, *case in _cases()}
# And what has no gradient.
NOISE = {
    "gumbel": lambda: kg.ops.sample_gumbel((50, 40), seed=3),
    "logistic": lambda: kg.ops.sample_logistic((50, 40), seed=3),
    "assignment": lambda: kg.ops.linear_assignment(MATRICES),
    "nearest code": lambda: kg.ops.nearest_code(D_ROWS, TABLE),
    "order": lambda: kg.ops.gumbel_top_k(X, 4, seed=3)[1],
}


def sample(name):
    """The arrays of a case: the value, and each gradient."""
    if name in NOISE:
        return [to_numpy(NOISE[name]())]
    function, args, dy, _ = CASES[name]
    return list(gradients(function, *args, upstream=dy))


def model():
    """One with a stream, a schedule and counts, in the midst of training."""
    decay = keras.optimizers.schedules.ExponentialDecay(2.0, 3, 0.5)
    made = keras.Sequential(
        [
            keras.Input((12,)),
            kg.GumbelSoftmax(decay, hard=True, seed=2**32 - 3),
            kg.GumbelQuantizer(5, 4, 2, seed=4),
        ]
    )
    for _ in range(3):
        made(X[:, 0], training=True)
    return made


def train(folder, epochs, initializer="ones"):
    """The weights and states of a run whose backups are in `folder`."""
    x, goals = X[:, 1], MATRICES[0, :, :4]
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(8, kernel_initializer=initializer),
            kg.GumbelSoftmax(
                keras.optimizers.schedules.ExponentialDecay(2.0, 3, 0.5),
                hard=True,
                estimator="reinmax",
                seed=5,
            ),
            keras.layers.Dense(4, kernel_initializer=initializer),
        ]
    )
    made.compile("adam", "mse")
    backup = kg.callbacks.ExactBackup(folder, existing="resume")
    made.fit(
        x,
        goals,
        batch_size=3,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[backup],
    )
    return [to_numpy(x) for x in made.variables]


def main():
    """Write what this backend gives."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    backend = keras.config.backend()
    found = {
        f"{name}/{n}": array
        for name in (*CASES, *NOISE)
        for n, array in enumerate(sample(name))
        if array is not None
    }
    keras.utils.set_random_seed(0)
    made = model()
    made.save(FOLDER / f"{backend}.keras")
    found["next/0"] = to_numpy(made(X[:, 0], training=True))
    found["next/1"] = to_numpy(made.layers[0].temperature)
    folder = FOLDER / f"{backend}-backup"
    shutil.rmtree(folder, ignore_errors=True)
    train(folder, epochs=2)
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        for n, array in enumerate(train(copy, epochs=4)):
            found[f"resumed/{n}"] = array
    np.savez_compressed(FOLDER / f"{backend}.npz", **found)


if __name__ == "__main__":
    main()
