"""Data-parallel training over processes, one of which is killed on the way.

Each worker is a process under `MultiWorkerMirroredStrategy`, in its own loop:
Keras 3's `fit` fails there (keras issue 20585). All see the same digits, so
only the noise differs. TensorFlow cannot replace a lost worker: the parent ends
the others too, and starts all from the checkpoint, which holds weights,
optimizer, the stream's position and the temperature's count.
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import tempfile
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.datasets import load_digits

import keras_gumbel as kg

EVERY = 50  # steps from one checkpoint to the next


def network() -> keras.Model:
    cooling = kg.schedules.ExponentialAnnealing(1.0, 2e-3, 0.5)
    inputs = keras.Input((64,))
    logits = layers.Reshape((8, 16))(layers.Dense(128)(inputs))
    codes = kg.GumbelSoftmax(cooling, hard=True, seed=0)(logits)
    x = layers.Dense(64, "relu")(layers.Flatten()(codes))
    model = keras.Model(inputs, [layers.Dense(64)(x), codes])
    model.compile(keras.optimizers.Adam(0.003))
    model.optimizer.build(model.trainable_variables)
    return model


def work(index: int, ports: list[str], log: Path, steps: int) -> None:
    signal.alarm(240)  # nobody waits for ever
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": ports}, "task": task})
    os.environ |= {"TF_CONFIG": config, "no_grpc_proxy": "127.0.0.1"}
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    saved = log.with_name("saved.keras")
    part = log.with_name("part.keras")
    with strategy.scope():
        model = keras.saving.load_model(saved) if saved.exists() else network()

    def replica(x):
        with tf.GradientTape() as tape:
            y, codes = model(x, training=True)
            loss = ops.mean((x - y) ** 2)
            share = loss / strategy.num_replicas_in_sync  # `apply` sums
        model.optimizer.apply(tape.gradient(share, model.trainable_weights))
        return loss, codes

    step = tf.function(lambda x: strategy.run(replica, [x]))
    digits = np.float32(load_digits().data / 16)
    with log.open("a", buffering=1) as lines:
        for number in range(int(model.optimizer.iterations.numpy()), steps):
            x = np.random.default_rng(number).choice(digits, 64)
            loss, codes = step(tf.constant(x))
            print(number, zlib.crc32(codes.numpy()), loss.numpy(), file=lines)
            if (number + 1) % EVERY == 0 and index == 0:
                model.save(part)
                part.replace(saved)  # whole, or not at all
        weights = [variable.numpy().tobytes() for variable in model.variables]
        print("weights", zlib.crc32(b"".join(weights)), file=lines)


def supervise(logs: list[Path], steps: int, kill_at: int) -> int:
    """Until all have ended well: how many times one was lost on the way."""
    process = multiprocessing.get_context("spawn").Process
    for lost in range(5):
        free = [socket.create_server(("127.0.0.1", 0)) for _ in logs]
        ports = [f"127.0.0.1:{one.getsockname()[1]}" for one in free]
        tasks = [(index, ports, log, steps) for index, log in enumerate(logs)]
        workers = [process(None, work, args=task) for task in tasks]
        for one in free:
            one.close()
        for worker in workers:
            worker.start()
        while True:
            ends = [worker.exitcode for worker in workers]
            if None not in ends:
                break
            if any(ends):
                break  # the others fail soon, or wait for ever
            if not lost and logs[-1].read_text().count("\n") > kill_at:
                workers[-1].kill()  # SIGKILL
            time.sleep(0.01)
        for worker in workers:
            worker.kill()
            worker.join()
        if not any(ends):
            return lost
    raise SystemExit("workers are lost again and again")


def main(count: int, steps: int) -> None:
    for name, kill_at in ("undisturbed", 2 * steps), ("killed", 5 * EVERY // 2):
        with tempfile.TemporaryDirectory() as folder:
            logs = [Path(folder, f"{index}.log") for index in range(count)]
            for log in logs:
                log.touch()
            print(name, "lost:", supervise(logs, steps, kill_at))
            for log in logs:
                *rows, end = map(str.split, log.read_text().splitlines())
                draws = sorted({(int(n), draw) for n, draw, _ in rows})
                print(f"{log.stem}: {len(rows)} steps, {len(draws)} different,")
                print(f"   loss {rows[0][2]} to {rows[-1][2]},", end=" ")
                print(f"draws {zlib.crc32(repr(draws).encode())},", *end)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="two workers")
    main(*((2, 400) if parser.parse_args().smoke else (4, 1000)))
