"""Genuine objects and archives, and what may be put into them."""

import copy
import inspect
import json
import zipfile

import keras

import keras_gumbel as kg
from tests.conformance.registry import LAYERS

SHARED = keras.random.SeedGenerator(8)


def objects():
    """Of each public class that Keras saves: one, with other than defaults."""
    layers = {
        row.layer: row.layer(
            **{name: value for name, (value, _) in row.settings.items()}
        )
        for row in LAYERS
    }
    estimators = kg.estimators
    return {
        type(one).__name__: one
        for one in (
            *layers.values(),
            estimators.GappedStraightThrough(gap=2.0),
            estimators.GumbelRao(num_samples=3),
            estimators.ReinMax(backward_temperature=2.0),
            estimators.StraightThrough(backward_temperature=2.0),
            estimators.StraightThroughGumbel(backward_temperature=2.0),
            kg.schedules.ExponentialAnnealing(2.0, 0.1, 0.5, every=2),
            kg.metrics.CodePerplexity(8),
            kg.metrics.CategoryUsage(8),
        )
    }


NAMES = (
    *dict.fromkeys(row.layer.__name__ for row in LAYERS),
    "GappedStraightThrough",
    "GumbelRao",
    "ReinMax",
    "StraightThrough",
    "StraightThroughGumbel",
    "ExponentialAnnealing",
    "CodePerplexity",
    "CategoryUsage",
)


def saved(one):
    """As it is in `config.json`: a dict of what JSON knows."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(one)))


def arguments(one):
    """Those of the class itself, which Keras does not know."""
    parameters = inspect.signature(type(one)).parameters.items()
    return [
        name
        for name, parameter in parameters
        if parameter.kind is not parameter.VAR_KEYWORD
        and name not in ("name", "dtype")
    ]


def entry(module, name, config, registered=None):
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": registered,
    }


def code(marker):
    """What would run code, or open a file, if somebody let it."""
    call = f"touch {marker}"
    spec = {"filepath": marker, "name": "x"}
    return {
        "lambda": {
            "class_name": "__lambda__",
            "config": {"value": _marshalled(marker)},
        },
        "Lambda": entry(
            "keras.layers",
            "Lambda",
            {
                "name": "x",
                "function": {
                    "class_name": "__lambda__",
                    "config": {"value": _marshalled(marker)},
                },
            },
        ),
        "exec": entry("builtins", "function", "exec", "exec"),
        "system": entry("os", "function", "system", "system"),
        "numpy": entry("numpy", "function", "save", "save"),
        "Popen": entry("subprocess", "Popen", {"args": call, "shell": True}),
        "Path": entry("pathlib", "Path", {"path": marker}),
        "ours": entry(
            "keras_gumbel.export.sampling_endpoint",
            "function",
            "export_with_sampling",
            "export_with_sampling",
        ),
        "internal": entry(
            "keras_gumbel.backend.tensorflow", "function", "differentiable"
        ),
        "class for function": entry(
            "keras_gumbel", "function", "keras_gumbel>GumbelSoftmax"
        ),
        "registered": entry("os", "system", {}, "keras_gumbel>system"),
        "load_model": entry("keras.models", "load_model", {"filepath": marker}),
        "get_file": entry("keras.utils", "function", "get_file", "get_file"),
        "SavedModel": entry("keras.layers", "TFSMLayer", spec),
        "unsafe": entry(
            "keras.config", "function", "enable_unsafe_deserialization"
        ),
    }


def _marshalled(marker):
    """Of code that writes the file, as Keras would store it."""
    from keras.src.utils import python_utils

    function = eval(f"lambda *_: open({str(marker)!r}, 'w').close() or 1.0")
    stored, defaults, closure = python_utils.func_dump(function)
    return [stored, defaults, closure]


WRONG = {
    "word": "nan",
    "empty word": "",
    "list": [1.0, 2.0, 3.0],
    "empty list": [],
    "dict": {},
    "dict of no object": {"config": {"class_name": None, "config": None}},
    "dict of a nameless object": {"class_name": None, "config": {}},
    "nested": [[[{"a": [None]}]]],
    "null": None,
    "true": True,
    "half": 0.5,
    "zero": 0,
    "negative": -3,
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": -float("inf"),
    "another layer": entry("keras.layers", "Dense", {"units": 3}),
    "another of ours": entry(
        "keras_gumbel.metrics.code_perplexity",
        "CodePerplexity",
        {"num_codes": 3, "name": "x", "dtype": "float32"},
        "keras_gumbel>CodePerplexity",
    ),
    "negative schedule": entry(
        "keras.optimizers.schedules",
        "ExponentialDecay",
        {"initial_learning_rate": -1.0, "decay_steps": 1, "decay_rate": 0.5},
    ),
    "wrong schedule": entry(
        "keras.optimizers.schedules",
        "ExponentialDecay",
        {"initial_learning_rate": "x", "decay_steps": [], "decay_rate": {}},
    ),
}


def replaced(config, name, value):
    """A copy in which one argument is another."""
    config = copy.deepcopy(config)
    config["config"][name] = value
    return config


def rewrite(path, to, change):
    """A copy of an archive with its members changed: `change(name, bytes)`."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return to
