"""Loads tampered archives, and notes what the interpreter does meanwhile.

    python -m tests.hostile.audited FOLDER

In a process of its own, with little memory and little time. What was seen is
written to FOLDER/seen.json, and judged in `test_archives.py`.
"""

import json
import pathlib
import resource
import signal
import sys

import keras

import keras_gumbel as kg
from tests.hostile.files import code, rewrite

GIB = 2**30
# Beside what a genuine archive needs.
MEMORY, SECONDS = 3 * GIB, 60

# Layer and argument to what a small file can ask for.
ABSURD = (
    ("choice", "temperature", 1e38),
    ("choice", "axis", 10**12),
    ("choice", "noise_scale", 1e38),
    ("choice", "estimator", ("num_samples", 10**12)),
    ("codes", "num_codes", 10**12),
    ("codes", "code_dim", 10**12),
    ("codes", "num_groups", 10**12),
    ("table", "input_dim", 10**12),
    ("table", "output_dim", 10**12),
    ("subset", "k", 10**9),
    ("square", "num_iterations", 10**12),
    ("gate", "axis", list(range(10**5))),
    ("inputs", "batch_shape", [None, 10**12]),
)

RUNS = ("exec", "compile", "subprocess.Popen", "os.", "shutil.", "ctypes.")
RUNS += ("socket.", "pty.", "tempfile.", "marshal.", "code.", "function.")


def make(path):
    """An archive with every kind of layer, and one wrapped for export."""
    schedule = kg.schedules.ExponentialAnnealing(1.0, 0.1, 0.5)
    inputs = keras.Input((5,), name="inputs")
    square = keras.layers.Reshape((5, 1))(inputs)
    square = keras.layers.Dot(2)([square, square])
    outputs = [
        kg.GumbelSoftmax(
            schedule,
            hard=True,
            estimator=kg.estimators.GumbelRao(num_samples=3),
            name="choice",
        )(inputs),
        kg.GumbelQuantizer(4, 4, 2, kl_weight=schedule, name="codes")(inputs),
        kg.GumbelEmbedding(5, 3, name="table")(inputs),
        kg.GumbelTopK(2, name="subset")(inputs),
        kg.GumbelSinkhorn(name="square")(square),
        kg.HardConcreteGate(name="gate")(inputs),
    ]
    model = keras.Model(inputs, outputs)
    model.save(path)
    small = keras.Sequential([keras.Input((5,)), kg.GumbelSoftmax()])
    kg.export.with_noise_input(small).save(path.with_name("given.keras"))


def in_layer(name, argument, value):
    """A change to `config.json`: another value in a layer's configuration."""

    def change(member, data):
        if member != "config.json":
            return data
        config = json.loads(data)
        for layer in config["config"]["layers"]:
            if layer["config"]["name"] == name:
                if isinstance(value, tuple):
                    layer["config"][argument]["config"][value[0]] = value[1]
                else:
                    layer["config"][argument] = value
        return json.dumps(config).encode()

    return change


class Watch:
    """The audit events while it is on; hooks cannot be taken away."""

    def __init__(self):
        self.events = None
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if self.events is None:
            return
        if event == "open":
            path, mode, flags = arguments
            if flags and flags & 3:  # not for reading alone
                self.events.append(f"open {path} {mode}")
        elif event.startswith(RUNS):
            self.events.append(f"{event} {str(arguments)[:200]}")

    def load(self, path, **settings):
        """What came of it, and what happened meanwhile."""
        self.events = []
        signal.alarm(SECONDS)  # ends the process
        try:
            keras.models.load_model(path, **settings)
            error = None
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"[:2000]
        finally:
            signal.alarm(0)
            events, self.events = self.events, None
        return {"error": error, "events": events}


def most_memory():
    """That this process has held at once, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: pathlib.Path) -> None:
    """Load all, and write down what was seen."""
    genuine = folder / "model.keras"
    make(genuine)
    watch = Watch()
    watch.load(genuine)  # What is imported and traced once, is now.
    seen = {"genuine": watch.load(genuine), "code": {}, "absurd": {}}
    given = genuine.with_name("given.keras")
    seen["given"] = watch.load(given)
    size = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    limit = size * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    held = most_memory()
    places = [
        (genuine, "choice", "temperature"),
        (genuine, "choice", "estimator"),
        (genuine, "choice", "seed"),
        (genuine, "codes", "kl_weight"),
        (genuine, "codes", "kernel_initializer"),
        (genuine, "table", "embeddings_constraint"),
        (given, "with_noise", "model"),
    ]
    marker = folder / "marker"
    # What would be seen, were it to run.
    change = in_layer("choice", "temperature", code(str(marker))["lambda"])
    unsafe = rewrite(genuine, folder / "unsafe.keras", change)
    seen["unsafe"] = watch.load(unsafe, safe_mode=False)
    for path, layer, argument in places:
        for kind, value in code(str(marker)).items():
            change = in_layer(layer, argument, value)
            hostile = rewrite(path, folder / "hostile.keras", change)
            name = f"{kind} as {argument} of {layer}"
            seen["code"][name] = watch.load(hostile)
    for layer, argument, value in ABSURD:
        change = in_layer(layer, argument, value)
        hostile = rewrite(genuine, folder / "hostile.keras", change)
        seen["absurd"][f"{layer}.{argument}"] = watch.load(hostile)
    seen["memory"] = most_memory() - held
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
