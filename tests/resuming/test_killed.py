"""A process killed twenty times ends as one that was left alone."""

import multiprocessing
import random
import signal
import time

import numpy as np
import pytest

from tests.resuming import training

KILLS = 20


class Runs:
    """Starts training processes, and kills them."""

    def __init__(self):
        # One process imports TensorFlow, and is forked for each attempt.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([training.__name__])
        self.batches = self.context.Value("i", 0)
        self.saving = self.context.Lock()

    def start(self, folder, exact, kill_at_write=None):
        folder.mkdir(exist_ok=True)
        process = self.context.Process(
            target=training.train,
            args=(
                str(folder),
                exact,
                kill_at_write,
                self.batches,
                self.saving,
            ),
        )
        process.start()
        return process

    def undisturbed(self, folder, exact):
        process = self.start(folder, exact)
        process.join()
        assert process.exitcode == 0
        return final(folder)

    def killed_in_training(self, folder, exact, chance):
        """By another process, at a random batch and a little later."""
        process = self.start(folder, exact)
        goal = self.batches.value + chance.randint(1, 2 * training.STEPS)
        while self.batches.value < goal and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        with self.saving:
            process.kill()
        return self.was_killed(process)

    def killed_in_writing(self, folder, chance):
        """By itself, at a random step of a random backup."""
        process = self.start(folder, True, chance.randint(1, 12))
        return self.was_killed(process)

    def was_killed(self, process):
        """If not, it came to its end."""
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


def final(folder):
    with np.load(folder / "final.npz") as arrays:
        return list(arrays.values())


def assert_same(states, expected):
    assert len(states) == len(expected)
    for state, other in zip(states, expected, strict=True):
        np.testing.assert_array_equal(state, other, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("exact", [True, False], ids=["Exact", "Keras"])
def test_killed_again_and_again(exact, tmp_path, seed):
    """Keras's own only where it does not write at the time."""
    chance = random.Random(seed)
    runs = Runs()
    expected = runs.undisturbed(tmp_path / "undisturbed", exact)
    kills, run, torn, ended = 0, 0, 0, []
    while kills < KILLS or len(ended) <= run:
        folder = tmp_path / str(run)
        if kills == KILLS:
            runs.undisturbed(folder, exact)
        elif exact and kills % 2:
            kills += runs.killed_in_writing(folder, chance)
        else:
            kills += runs.killed_in_training(folder, exact, chance)
        left = list(folder.glob("backup/*"))
        torn += len(left) > 1 if exact else 0
        if (folder / "final.npz").exists():
            ended.append(final(folder))
            run += kills < KILLS
    assert torn or not exact  # Some backups were left half written.
    for states in ended:
        assert_same(states, expected)
