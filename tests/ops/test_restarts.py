"""Codes that are due get rows of the batch: distinct, true, and uniform."""

import numpy as np
import pytest
from scipy import stats

from keras_gumbel.ops.restarts import choose
from tests.harness import in_mode, modes, tensor, to_numpy


def moved(due, rows, unit, counted=None, mode="eager"):
    vectors = np.arange(rows * 2, dtype="float32").reshape(rows, 1, 2) + 100
    before = np.zeros((*due.shape, 2), "float32")

    def run(due, vectors, before, unit, counted):
        moves = choose(due, counted, vectors.shape[0], unit)
        return moves.of(vectors, before), moves.settled

    args = [due, vectors, before, np.asarray(unit, "float32")]
    args = [None if x is None else tensor(x) for x in [*args, counted]]
    after, settled = to_numpy(in_mode(mode, run)(*args))
    return after, settled


@modes()
@pytest.mark.parametrize("masked", [False, True])
def test_no_two_get_one_row_and_none_is_padding(mode, masked, seed):
    rng = np.random.default_rng(seed)
    due = rng.uniform(size=(2, 40)) < 0.4
    counted = rng.uniform(size=70) < 0.6 if masked else None
    after, settled = moved(due, 70, rng.uniform(size=2), counted, mode)
    assert (settled == due).all()
    assert (after[~due] == 0).all()
    for group in range(2):
        rows = (after[group, due[group], 0] - 100) / 2
        assert len({*rows}) == due[group].sum()
        assert {*rows} <= {*(np.flatnonzero(counted) if masked else range(70))}


def test_more_codes_than_rows_get_copies_and_are_not_settled():
    due = np.ones((1, 8), bool)
    due[0, 2] = False
    after, settled = moved(due, 3, [0.99])
    assert settled[0].tolist() == [1, 1, 0, 1, 0, 0, 0, 0]
    rows = ((after[0, :, 0] - 100) / 2)[due[0]]
    assert sorted(rows[:3]) == [0, 1, 2]
    np.testing.assert_array_equal(rows[3:6], rows[:3])


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_without_rows_moves_nothing(masked):
    counted = np.zeros(5, bool) if masked else None
    due = np.ones((1, 4), bool)
    after, settled = moved(due, 5 if masked else 0, [0.5], counted)
    assert not settled.any()
    assert (after == 0).all()


def test_what_is_not_finite_is_no_code():
    due = np.ones((1, 3), bool)
    vectors = np.ones((3, 1, 2), "float32")
    vectors[1, 0, 1] = float("nan")
    moves = choose(tensor(due), None, 3, tensor(np.array([0.0], "float32")))
    before = tensor(np.full((1, 3, 2), 7.0, "float32"))
    after = to_numpy(moves.of(tensor(vectors), before))
    assert after[0, :, 0].tolist() == [1, 7, 1]


def test_every_row_is_as_likely(seed):
    """Chi-square, false-fail rate 1e-6."""
    rng = np.random.default_rng(seed)
    rows, draws = 7, 400_000
    due = np.zeros((draws, 5), bool)
    due[:, [1, 4]] = True
    after, _ = moved(due, rows, rng.uniform(size=draws))
    for code in (1, 4):
        found = ((after[:, code, 0] - 100) / 2).astype(int)
        counts = np.bincount(found, minlength=rows)
        assert stats.chisquare(counts).pvalue > 1e-6
