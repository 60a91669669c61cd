"""Learn to sort numbers, by a permutation that has a gradient.

A network scores how well each number fits each place. `GumbelSinkhorn` makes a
permutation of the scores: relaxed in training, exactly 0 and 1 in use.
"""

import keras
import numpy as np
from keras import layers, ops

import keras_gumbel as kg

SIZE = 6


def lists(count, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(count, SIZE)).astype("float32")


class Sorter(keras.Model):
    def __init__(self):
        super().__init__()
        hidden = [layers.Dense(32, "swish"), layers.Dense(32, "swish")]
        self.score = keras.Sequential([*hidden, layers.Dense(SIZE)])
        schedule = kg.schedules.ExponentialAnnealing(1.0, 3e-3, 0.1)
        self.choice = kg.GumbelSinkhorn(schedule, inference="argmax")

    def call(self, numbers, training=None):
        # Row i of the scores, and of the permutation, is number i.
        scores = self.score(numbers[..., None])
        permutation = self.choice(scores, training=training)
        return ops.einsum("bij,bi->bj", permutation, numbers)


sorter = Sorter()
sorter.compile(keras.optimizers.Adam(3e-3), "mse")
train = lists(8000, seed=0)
sorter.fit(train, np.sort(train), batch_size=64, epochs=8, verbose=0)

test = lists(1000, seed=1)
moved = sorter.predict(test, verbose=0)
right = np.mean(np.all(moved == np.sort(test), axis=-1))
print(f"{right:.1%} of the lists are sorted exactly")
