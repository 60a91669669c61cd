"""Train a policy of discrete actions through a critic.

An agent on a square takes one step in one of four directions, and is rewarded
for coming nearer to the middle. A critic learns the rewards of random actions.
The actor follows the critic's gradient through an exactly one-hot action, like
all actions that the critic has seen.
"""

import keras
import numpy as np
from keras import layers, ops

import keras_gumbel as kg

MOVES = 0.2 * np.float32([[1, 0], [-1, 0], [0, 1], [0, -1]])
rng = np.random.default_rng(0)


def reward(place, action):
    after = place + action @ MOVES
    near = np.linalg.norm(place, axis=-1) - np.linalg.norm(after, axis=-1)
    return 10 * near[:, None]


place = rng.uniform(-1, 1, (8000, 2)).astype("float32")
action = np.eye(4, dtype="float32")[rng.integers(4, size=8000)]

given = [keras.Input((2,)), keras.Input((4,))]
features = layers.Concatenate()(given)
for _ in range(2):
    features = layers.Dense(64, "relu")(features)
critic = keras.Model(given, layers.Dense(1)(features))
critic.compile(keras.optimizers.Adam(3e-3), "mse")
critic.fit([place, action], reward(place, action), 128, 20, verbose=0)
critic.trainable = False

state = keras.Input((2,))
logits = layers.Dense(4)(layers.Dense(64, "relu")(state))
# A policy goes on sampling when it is used.
policy = kg.GumbelSoftmax(0.5, hard=True, inference="sample")(logits)
value = critic([state, policy])
trainer = keras.Model(state, value)
trainer.compile(keras.optimizers.Adam(3e-3), lambda _, q: -ops.mean(q))
trainer.fit(place, np.zeros((8000, 1)), 128, 10, verbose=0)

act = keras.Model(state, policy)
start = rng.uniform(-1, 1, (1000, 2)).astype("float32")
taken = act.predict(start, verbose=0)
got = reward(start, taken).mean()
best = np.max([reward(start, np.eye(4)[[a] * 1000]) for a in range(4)], axis=0)
print(f"mean reward {got:.2f}; the best actions give {best.mean():.2f}")
