"""Train a policy by a critic that is shown samples or probabilities.

Q(s, a) learns from one-hot actions; the actor follows its gradient through one,
as in MADDPG, https://arxiv.org/abs/1706.02275. Must the action be a sample, or
may it be the softmax? In a slippery grid with pits every policy's return is
known, and so is the best one. A linear critic is q(s) . a. All weights have an
axis of runs.
"""

import argparse
import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure

import keras_gumbel as kg

SIZE = 5
STATES = 25
GAMMA = 0.95
RUNS = 5
BATCH = 64
HIDDEN = 32
ENDS = {24: 1, 7: -1, 11: -1, 18: -1}  # rewards: the goal, three pits
draw = functools.partial(kg.ops.gumbel_softmax, hard=True)
ACTORS = {  # what the critic is shown (or none), and whether it is linear
    "straight-through": (draw, False),
    "softmax": (ops.softmax, False),
    "score function": (None, False),
    "straight-through, linear": (draw, True),
    "softmax, linear": (ops.softmax, True),
}
TO = np.zeros((STATES, 4, STATES), "float32")
state = np.arange(STATES)
for n, move in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
    cell = np.stack(np.divmod(state, SIZE), axis=-1) + move
    TO[state, n, np.clip(cell, 0, SIZE - 1) @ (SIZE, 1)] = 1
TO = 0.8 * TO + 0.2 * TO.mean(axis=1, keepdims=True)  # slippery
REWARD = TO[:, :, [*ENDS]] @ np.float32([*ENDS.values()])
TO[:, :, [*ENDS]] = 0  # the walk is over


class ActorCritic:
    def __init__(self, shown, linear: bool) -> None:
        self.shown = shown
        self.linear = linear
        normal = keras.random.normal
        if linear:
            inputs = STATES
            outputs = 4
        else:
            inputs = STATES + 4
            outputs = 1
        shapes = (RUNS, inputs, HIDDEN), (RUNS, HIDDEN, outputs)
        self.critic = [keras.Variable(normal(shape) / 3) for shape in shapes]
        self.logits = keras.Variable(ops.zeros((RUNS, STATES, 4)))
        self.adam = keras.optimizers.Adam(0.005)
        self.adam.build([self.logits, *self.critic])

    def q(self, state, action):
        """Of one-hot states (r, b, s) and actions (r, b, 4)."""
        given = state if self.linear else ops.concatenate([state, action], -1)
        out = ops.tanh(given @ self.critic[0]) @ self.critic[1]
        return ops.sum(out * action if self.linear else out, axis=-1)

    def actor_loss(self, state, logits):
        if self.shown is not None:
            return -self.q(state, self.shown(logits))
        samples = draw(ops.stop_gradient(ops.stack([logits] * 4)))
        values = -self.q(ops.stack([state] * 4), samples)
        return kg.estimators.score_function_loss(values, logits, samples)

    @tf.function(jit_compile=True)
    def update(self) -> None:
        state = draw(ops.zeros((RUNS, BATCH, STATES)))  # anywhere
        action = draw(state @ self.logits)
        odds = ops.einsum("rbs,rba,sat->rbt", state, action, TO)
        then = draw(ops.log(odds))  # unless the walk is over
        value = ops.sum(odds, axis=-1) * self.q(then, draw(then @ self.logits))
        reward = ops.einsum("rbs,rba,sa->rb", state, action, REWARD)
        with tf.GradientTape(persistent=True) as tape:
            actor = self.actor_loss(state, state @ self.logits)
            critic = (self.q(state, action) - reward - GAMMA * value) ** 2
        steps = tape.gradient(actor, [self.logits.value])
        steps += tape.gradient(critic, [w.value for w in self.critic])
        self.adam.apply(steps)

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Exact returns; how far Q of even odds is from the mean of Q."""
        state = np.tile(np.eye(STATES, dtype="float32"), (RUNS, 1, 1))
        even = np.full((RUNS, STATES, 4), 0.25, "float32")
        q = [self.q(state, 0 * even + a) for a in np.eye(4, dtype="float32")]
        gap = np.abs(self.q(state, even) - np.mean(q, axis=0)).mean(axis=1)
        policy = np.array(ops.softmax(self.logits))
        moves = np.eye(STATES) - GAMMA * np.einsum("rsa,sat->rst", policy, TO)
        reward = np.sum(policy * REWARD, axis=-1, keepdims=True)
        return np.linalg.solve(moves, reward)[:, 0, 0], gap


def main(output: Path, names, updates: int) -> None:
    best = np.zeros(STATES)
    figure = Figure((8, 4), layout="constrained")
    for _ in range(1000):
        best = np.max(REWARD + GAMMA * TO @ best, axis=1)
    print(f"optimal return {best[0]:.3f}; of actors, and Q's error of a blend")
    axis = figure.subplots()
    steps = np.linspace(0, updates, 21, dtype=int)
    for name in names:
        keras.utils.set_random_seed(0)
        actor = ActorCritic(*ACTORS[name])
        rows = []
        for step in range(updates + 1):
            if step in steps:
                rows.append(actor.measure())
            actor.update()
        mean = np.mean(rows, axis=-1)
        std = np.std(rows, axis=-1)
        print(f"{name:>24}", *map("{:.3f} +- {:.3f}".format, mean[-1], std[-1]))
        axis.errorbar(steps * BATCH, mean[:, 0], std[:, 0], label=name)
    axis.axhline(best[0], color="black", linestyle="--", label="optimal")
    axis.set(xlabel="steps in the grid", ylabel="exact return")
    axis.legend()
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "actor_critic.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    size = ([*ACTORS][1::3], 1000) if given.smoke else (ACTORS, 4000)
    main(given.output, *size)
