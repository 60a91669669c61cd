"""CartPole by actors that follow their critic's gradient through an action.

After MADDPG, https://arxiv.org/abs/1706.02275. Weights have an axis of runs.
"""

import argparse
import functools
import random
from itertools import islice, pairwise
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure

import keras_gumbel as kg

try:
    import gymnasium
except ImportError:
    raise SystemExit("No gymnasium: pip install 'keras-gumbel[rl]'") from None
RUNS = 5
CARTS = 8
GAMMA = 0.99
UNITS = (0.4, 0.5, 5, 0.5)
draw = functools.partial(kg.ops.gumbel_softmax, hard=True)
SHOWN = {"sample": draw, "softmax": ops.softmax, "score": None}  # to the critic
NAMES = "sample", "softmax", "score", "sample, linear", "softmax, linear"


def transitions(act, seed: int):
    carts = gymnasium.make_vec("CartPole-v1", num_envs=RUNS * CARTS)
    state = UNITS * carts.reset(seed=seed)[0]
    while True:
        action = np.reshape(act(state.reshape(RUNS, CARTS, 4)), (-1, 2))
        then, reward, fell, *_ = carts.step(action.argmax(axis=-1))
        row = np.column_stack([state, action, UNITS * then, reward, ~fell])
        yield np.float32(row).reshape(RUNS, CARTS, 12)  # a reset: no reward
        state = UNITS * then


def weights(*sizes: int) -> list[keras.Variable]:
    start = [keras.random.normal((RUNS, *size)) for size in pairwise(sizes)]
    return [keras.Variable(w / w.shape[1] ** 0.5) for w in start]


def network(w, x):
    x = ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)
    return ops.relu(ops.relu(x @ w[0]) @ w[1]) @ w[2]


class ActorCritic:
    def __init__(self, name: str) -> None:
        self.shown = SHOWN[name.split(",")[0]]
        self.linear = "linear" in name
        sizes = (5, 64, 64, 2) if self.linear else (7, 64, 64, 1)
        self.actor = weights(5, 64, 64, 2)
        self.critic = weights(*sizes)
        self.target = weights(*sizes)
        self.adam = keras.optimizers.Adam(0.003)
        self.adam.build(self.actor + self.critic)

    @tf.function(jit_compile=True)
    def act(self, s):
        return draw(network(self.actor, s))

    def q(self, critic, s, a):
        out = network(critic, s if self.linear else ops.concatenate([s, a], -1))
        return ops.sum(out * a if self.linear else out, axis=-1)

    @tf.function(jit_compile=True)
    def update(self, rows) -> None:
        s, a, then, end = ops.split(rows, (4, 6, 10), axis=-1)
        goal = GAMMA * end[..., 1] * self.q(self.target, then, self.act(then))
        with tf.GradientTape() as tape:
            logits = network(self.actor, s)
            if self.shown is not None:
                loss = -self.q(self.target, s, self.shown(logits))
            else:
                samples = draw(ops.stop_gradient(ops.stack([logits] * 4)))
                loss = -self.q(self.target, ops.stack([s] * 4), samples)
                loss = kg.estimators.score_function_loss(loss, logits, samples)
            loss += 0.01 * kg.losses.categorical_kl(logits)  # entropy bonus
            loss += (self.q(self.critic, s, a) - (1 - GAMMA) - goal) ** 2
        learnt = [w.value for w in self.actor + self.critic]
        self.adam.apply(tape.gradient(loss, learnt, end[..., 0]))  # no resets
        for slow, w in zip(self.target, self.critic, strict=True):
            slow.assign_add(0.02 * (w - slow))


def main(output: Path, names, steps: int) -> None:
    figure = Figure((8, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.set(xlabel=f"tenths of {CARTS * steps} steps", ylabel="return")
    for name in names:
        keras.utils.set_random_seed(0)
        agent = ActorCritic(name)
        seen = []
        found = []
        for row in islice(transitions(agent.act, seed=0), steps + 1):
            seen.append(row)
            rows = np.concatenate(random.choices(seen, k=16), axis=1)
            if len(seen) % (steps // 10) == 1:
                test = islice(transitions(agent.act, seed=1), 499)
                stood = np.cumprod([row[..., 11] for row in test], axis=0)
                s = rows[..., :4]
                a = rows[..., 4:6]
                odds = a, 1 - a, 0 * a + 0.5
                q, other, even = (agent.q(agent.critic, s, p) for p in odds)
                gap = np.abs(even - (q + other) / 2).mean(axis=1) / (1 - GAMMA)
                found.append([1 + stood.sum(axis=0).mean(axis=1), gap])
            agent.update(rows)
        mean = np.mean(found, axis=-1)
        std = np.std(found, axis=-1)
        print(f"{name:>24}", *map("{:.2f} +- {:.2f}".format, mean[-1], std[-1]))
        axis.errorbar(range(11), mean[:, 0], std[:, 0], label=name, capsize=3)
    axis.legend()
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "cart_pole.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    main(given.output, *((NAMES[2::2], 600) if given.smoke else (NAMES, 6000)))
