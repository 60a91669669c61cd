"""The names and signatures that users rely on: a snapshot."""

import importlib.metadata
import inspect
import pathlib
import re
import types

import keras
import pytest

import keras_gumbel as kg
from tests.conformance.docstrings import (
    actual_defaults,
    documented_arguments,
    documented_defaults,
)
from tests.conformance.registry import LAYERS, ONE_OF_EACH

NAMES = {
    kg: {
        "FiniteScalarQuantizer",
        "GumbelEmbedding",
        "GumbelSigmoid",
        "GumbelQuantizer",
        "GumbelSinkhorn",
        "GumbelSoftmax",
        "HardConcreteGate",
        "GumbelSort",
        "GumbelTopK",
        "SampleArgmaxIndex",
        "TemperatureScheduler",
        "VectorQuantizer",
        "callbacks",
        "diagnostics",
        "distributions",
        "estimators",
        "export",
        "layers",
        "losses",
        "metrics",
        "ops",
        "remat",
        "schedules",
    },
    kg.ops: {
        "conditional_poisson_marginals",
        "conditional_poisson_subset",
        "gumbel_sigmoid",
        "gumbel_softmax",
        "hard_concrete",
        "gumbel_sinkhorn",
        "linear_assignment",
        "gumbel_sort",
        "gumbel_top_k",
        "nearest_code",
        "sample_argmax_index",
        "sample_embedding",
        "sample_gumbel",
        "sample_logistic",
        "straight_through",
    },
    kg.estimators: {
        "Estimator",
        "GappedStraightThrough",
        "GumbelRao",
        "ReinMax",
        "StraightThrough",
        "StraightThroughGumbel",
        "get",
        "score_function_loss",
        "serialize",
        "without_replacement_loss",
    },
    kg.diagnostics: {
        "GradientReport",
        "GradientRow",
        "TemperatureReport",
        "TemperatureRow",
        "exact_expectation",
        "exact_gradient",
        "gradient_report",
        "temperature_report",
    },
    kg.export: {
        "export_with_sampling",
        "with_noise_input",
        "with_seed_input",
    },
    kg.losses: {
        "bernoulli_kl",
        "bit_entropy_gap",
        "categorical_kl",
        "diversity_loss",
    },
    kg.metrics: {"CategoryUsage", "CodePerplexity"},
    kg.layers: {
        "FiniteScalarQuantizer",
        "GumbelEmbedding",
        "GumbelQuantizer",
        "GumbelSigmoid",
        "GumbelSinkhorn",
        "GumbelSoftmax",
        "GumbelSort",
        "GumbelTopK",
        "HardConcreteGate",
        "SampleArgmaxIndex",
        "VectorQuantizer",
    },
    kg.callbacks: {"ExactBackup", "TemperatureScheduler"},
    kg.schedules: {"ExponentialAnnealing"},
}

CATEGORICAL_LAYER = (
    "(temperature=1.0, hard=False, axis=-1, *, estimator='st_gumbel', "
    "inference=None, noise_scale=1.0, from_logits=True, seed=None, **kwargs)"
)
CATEGORICAL_CALL = (
    "(self, logits, class_mask=None, temperature=None, training=None, "
    "mask=None)"
)
CATEGORICAL_FUNCTION = (
    "(logits, temperature=1.0, *, hard=False, axis=-1, "
    "estimator='st_gumbel', class_mask=None, noise_scale=1.0, "
    "num_samples=None, seed=None)"
)
SIGNATURES = {
    kg.remat: "(function)",
    kg.GumbelSoftmax: CATEGORICAL_LAYER,
    kg.GumbelSoftmax.call: CATEGORICAL_CALL,
    kg.GumbelSigmoid: (
        "(temperature=1.0, hard=False, *, estimator='st_gumbel', "
        "inference=None, noise_scale=1.0, from_logits=True, seed=None, "
        "**kwargs)"
    ),
    kg.GumbelSigmoid.call: CATEGORICAL_CALL,
    kg.GumbelEmbedding: (
        "(input_dim, output_dim, embeddings_initializer='uniform', "
        "embeddings_regularizer=None, embeddings_constraint=None, *, "
        "temperature=1.0, estimator='st_gumbel', inference=None, "
        "noise_scale=1.0, from_logits=True, seed=None, **kwargs)"
    ),
    kg.GumbelEmbedding.call: CATEGORICAL_CALL,
    kg.HardConcreteGate: (
        "(axis=-1, temperature=0.6666666666666666, *, l0_weight=0.0, "
        "stretch=(-0.1, 1.1), log_alpha_initializer='zeros', inference=None, "
        "noise_scale=1.0, seed=None, **kwargs)"
    ),
    kg.HardConcreteGate.call: (
        "(self, inputs, class_mask=None, temperature=None, training=None)"
    ),
    kg.GumbelQuantizer: (
        "(num_codes, code_dim, num_groups=1, temperature=1.0, hard=True, *, "
        "estimator='st_gumbel', kl_weight=None, "
        "kernel_initializer='glorot_uniform', use_bias=True, "
        "embeddings_initializer='uniform', similarity='projection', "
        "diversity_weight=0.1, init_from_data=True, restart_after=50, "
        "inference=None, noise_scale=1.0, seed=None, **kwargs)"
    ),
    kg.GumbelQuantizer.call: (
        "(self, inputs, class_mask=None, temperature=None, training=None, "
        "mask=None)"
    ),
    kg.GumbelQuantizer.logits: "(self, inputs, class_mask=None)",
    kg.GumbelQuantizer.encode: "(self, inputs, class_mask=None)",
    kg.GumbelQuantizer.decode: "(self, codes)",
    kg.VectorQuantizer: (
        "(num_codes, num_groups=1, num_stages=1, *, temperature=1.0, "
        "noise_scale=0.0, estimator=None, distance='euclidean', "
        "update='ema', commitment_weight=0.25, decay=0.99, "
        "init_from_data=True, restart_after=50, stage_dropout=0.0, "
        "embeddings_initializer='uniform', inference=None, seed=None, "
        "**kwargs)"
    ),
    kg.VectorQuantizer.call: (
        "(self, inputs, temperature=None, training=None, mask=None)"
    ),
    kg.VectorQuantizer.encode: "(self, inputs)",
    kg.VectorQuantizer.decode: "(self, codes)",
    kg.FiniteScalarQuantizer: (
        "(levels, *, temperature=1.0, entropy_weight=None, noise_scale=0.0, "
        "inference=None, seed=None, **kwargs)"
    ),
    kg.FiniteScalarQuantizer.call: (
        "(self, inputs, temperature=None, training=None, mask=None)"
    ),
    kg.FiniteScalarQuantizer.encode: "(self, inputs)",
    kg.FiniteScalarQuantizer.decode: "(self, codes)",
    kg.GumbelSinkhorn: (
        "(temperature=1.0, num_iterations=20, hard=False, *, inference=None, "
        "noise_scale=1.0, from_logits=True, seed=None, **kwargs)"
    ),
    kg.GumbelSinkhorn.call: CATEGORICAL_CALL,
    kg.GumbelSort: (
        "(temperature=1.0, hard=False, *, output='permutation', "
        "descending=True, inference=None, noise_scale=1.0, "
        "from_logits=True, seed=None, **kwargs)"
    ),
    kg.GumbelSort.call: CATEGORICAL_CALL,
    kg.GumbelTopK: (
        "(k, temperature=1.0, hard=False, axis=-1, *, inference=None, "
        "noise_scale=1.0, from_logits=True, seed=None, **kwargs)"
    ),
    kg.GumbelTopK.call: CATEGORICAL_CALL[:-1] + ", k=None)",
    kg.SampleArgmaxIndex: CATEGORICAL_LAYER,
    kg.SampleArgmaxIndex.call: CATEGORICAL_CALL,
    kg.TemperatureScheduler: (
        "(schedule, *, frequency='batch', layers=None, initial_step=0, "
        "verbose=0)"
    ),
    kg.callbacks.ExactBackup: ("(folder, *, run=None, existing='refuse')"),
    kg.schedules.ExponentialAnnealing: (
        "(initial_temperature, decay_rate, minimum, every=1)"
    ),
    kg.ops.gumbel_softmax: CATEGORICAL_FUNCTION,
    kg.ops.hard_concrete: (
        "(log_alpha, temperature=0.6666666666666666, *, stretch=(-0.1, 1.1), "
        "class_mask=None, noise_scale=1.0, seed=None)"
    ),
    kg.ops.gumbel_sinkhorn: (
        "(logits, temperature=1.0, num_iterations=20, *, hard=False, "
        "class_mask=None, noise_scale=1.0, seed=None)"
    ),
    kg.ops.linear_assignment: "(logits)",
    kg.ops.gumbel_sort: (
        "(scores, temperature=1.0, *, hard=False, descending=True, "
        "class_mask=None, noise_scale=1.0, seed=None)"
    ),
    kg.ops.gumbel_top_k: (
        "(logits, k, temperature=1.0, *, max_k=None, hard=False, axis=-1, "
        "class_mask=None, noise_scale=1.0, seed=None)"
    ),
    kg.ops.conditional_poisson_subset: (
        "(logits, k, *, max_k=None, axis=-1, class_mask=None, seed=None)"
    ),
    kg.ops.conditional_poisson_marginals: (
        "(logits, k, *, max_k=None, axis=-1, class_mask=None)"
    ),
    kg.ops.nearest_code: "(vectors, table)",
    kg.ops.sample_argmax_index: CATEGORICAL_FUNCTION,
    kg.ops.sample_embedding: (
        "(logits, table, temperature=1.0, *, estimator='st_gumbel', "
        "class_mask=None, noise_scale=1.0, seed=None)"
    ),
    kg.ops.gumbel_sigmoid: (
        "(logits, temperature=1.0, *, hard=False, estimator='st_gumbel', "
        "class_mask=None, noise_scale=1.0, seed=None)"
    ),
    kg.ops.sample_logistic: "(shape, *, dtype='float32', seed=None)",
    kg.ops.sample_gumbel: "(shape, *, dtype='float32', seed=None)",
    kg.ops.straight_through: "(hard, soft)",
    kg.estimators.GappedStraightThrough: (
        "(gap=1.0, *, backward_temperature=None)"
    ),
    kg.estimators.GumbelRao: "(num_samples=10, *, backward_temperature=None)",
    kg.estimators.ReinMax: "(*, backward_temperature=None)",
    kg.estimators.StraightThrough: "(*, backward_temperature=None)",
    kg.estimators.StraightThroughGumbel: "(*, backward_temperature=None)",
    kg.diagnostics.GradientReport: (
        "(rows, reference, reference_error, num_samples)"
    ),
    kg.diagnostics.GradientRow: (
        "(estimator, temperature, relative_bias, bias_error, "
        "relative_variance, cosine, seconds)"
    ),
    kg.diagnostics.exact_expectation: "(objective, logits)",
    kg.diagnostics.exact_gradient: "(objective, logits)",
    kg.diagnostics.gradient_report: (
        "(objective, logits, estimators=None, temperatures=(0.5, 1.0), "
        "num_samples=1000, *, reference_samples=100000, seed=0)"
    ),
    kg.diagnostics.TemperatureReport: "(rows, monitor, steps)",
    kg.diagnostics.TemperatureRow: (
        "(estimator, temperature, loss, behind, behind_error, slope_ratio, "
        "slope_error, relative_variance, seconds)"
    ),
    kg.diagnostics.temperature_report: (
        "(model, x, y=None, temperatures=(0.1, 0.3, 1.0, 3.0), "
        "estimators=None, *, steps=300, batch_size=32, num_samples=100, "
        "validation_data=None, monitor='loss', seed=0, verbose=1)"
    ),
    kg.export.export_with_sampling: "(model, path)",
    kg.export.with_noise_input: "(model)",
    kg.export.with_seed_input: "(model)",
    kg.losses.categorical_kl: "(logits, prior_logits=None, *, axis=-1)",
    kg.losses.bernoulli_kl: "(logits, prior_logits=None)",
    kg.losses.diversity_loss: "(logits, mask=None)",
    kg.losses.bit_entropy_gap: "(logits, mask=None)",
    kg.metrics.CategoryUsage: (
        "(num_codes, name='category_usage', dtype=None)"
    ),
    kg.metrics.CodePerplexity: (
        "(num_codes, name='code_perplexity', dtype=None)"
    ),
    kg.estimators.get: "(identifier)",
    kg.estimators.without_replacement_loss: (
        "(values, logits, indices, *, class_mask=None)"
    ),
    kg.estimators.score_function_loss: (
        "(values, logits, samples, *, axis=-1, class_mask=None)"
    ),
    kg.estimators.serialize: "(estimator)",
}
if keras.config.backend() == "tensorflow":
    NAMES[kg.distributions] = {
        "StraightThroughOneHotCategorical",
        "from_layer",
        "log_from_layer",
    }
    SIGNATURES |= {
        kg.distributions.StraightThroughOneHotCategorical: (
            "(logits=None, probs=None, temperature=1.0, estimator='st_gumbel', "
            "dtype='float32', validate_args=False, allow_nan_stats=True, "
            "name='StraightThroughOneHotCategorical')"
        ),
        kg.distributions.from_layer: (
            "(layer, logits, *, temperature=None, class_mask=None)"
        ),
        kg.distributions.log_from_layer: (
            "(layer, logits, *, temperature=None, class_mask=None)"
        ),
    }

PUBLIC = [
    getattr(module, name)
    for module, names in NAMES.items()
    if module is not kg
    for name in sorted(names)
]
each_public = pytest.mark.parametrize(
    "thing", PUBLIC, ids=lambda thing: thing.__name__
)


def public_names(module):
    """Names made here, or on purpose brought here: no imported helpers."""
    # Some names are there only when they are asked for.
    values = {name: getattr(module, name) for name in dir(module)}
    return {
        name
        for name, value in values.items()
        if not name.startswith("_")
        and (
            value.__name__.startswith("keras_gumbel.")
            if isinstance(value, types.ModuleType)
            else getattr(value, "__module__", "").startswith("keras_gumbel.")
        )
        # Importing a file of a folder makes it an attribute.
        and not (
            isinstance(value, types.ModuleType)
            and module is not kg
            and value.__name__.startswith(f"{module.__name__}.")
        )
    }


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__)
def test_public_names(module):
    found = public_names(module)
    if module is kg:
        # Parts of the package that anyone may read, and nobody should use.
        found -= {"backend", "numerics", "rematerialization"}
    if module is kg.schedules:
        # Of one file: what it imports is no part of it.
        found = {
            name
            for name in found
            if getattr(vars(module)[name], "__module__", "") == module.__name__
        }
    if module is kg.estimators:
        found -= {
            "estimator",
            "gapped_straight_through",
            "gumbel_rao",
            "reinmax",
            "score_function",
            "straight_through",
            "straight_through_gumbel",
        }
    assert found == NAMES[module]


def test_what_is_at_the_top_is_what_is_below():
    assert kg.GumbelSoftmax is kg.layers.GumbelSoftmax
    assert kg.GumbelSigmoid is kg.layers.GumbelSigmoid
    assert kg.GumbelSort is kg.layers.GumbelSort
    assert kg.GumbelTopK is kg.layers.GumbelTopK
    assert kg.SampleArgmaxIndex is kg.layers.SampleArgmaxIndex
    assert kg.TemperatureScheduler is kg.callbacks.TemperatureScheduler


def test_the_registry_has_every_public_layer():
    layers = {
        thing
        for thing in PUBLIC
        if inspect.isclass(thing) and issubclass(thing, keras.Layer)
    }
    assert layers == {row.layer for row in LAYERS}
    assert layers == {row.layer for row in LAYERS if str(row) in ONE_OF_EACH}
    # And each of them both ways, if it has two.
    assert {
        (layer, hard)
        for layer in layers
        for hard in (True, False)
        if "hard" in inspect.signature(layer).parameters
    } <= {(row.layer, row.hard) for row in LAYERS}


@pytest.mark.parametrize(
    "thing", SIGNATURES, ids=lambda thing: thing.__qualname__
)
def test_signatures(thing):
    signature = inspect.signature(thing)
    bare = signature.replace(
        parameters=[
            parameter.replace(annotation=parameter.empty)
            for parameter in signature.parameters.values()
        ],
        return_annotation=signature.empty,
    )
    assert str(bare) == SIGNATURES[thing]


def test_every_public_thing_has_a_signature_in_the_snapshot():
    # `Estimator` is abstract: only its subclasses are called.
    assert set(PUBLIC) - set(SIGNATURES) == {kg.estimators.Estimator}


@each_public
def test_everything_is_documented(thing):
    parameters = [
        name
        for name, parameter in inspect.signature(thing).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]
    documented = documented_arguments(thing)
    if inspect.isclass(thing) and issubclass(thing, keras.Layer):
        parameters.append("**kwargs")
    assert [*documented] == parameters
    assert len(inspect.getdoc(thing).split("\n\n")[0]) <= 80


@each_public
def test_prose_is_plain(thing):
    """No sentence begins with Of, What or Not, and a noun is named."""
    text = " ".join(inspect.getdoc(thing).split())
    found = re.findall(r"(?:^|[.:?!] )(?:Of|What|Not) .{30}", text)
    found += re.findall(r"\b(?:as|that|those) of .{30}|what is not .{30}", text)
    assert not found


@each_public
def test_documented_defaults_are_those_of_the_signature(thing):
    actual = actual_defaults(thing)
    documented = documented_defaults(thing)
    assert documented == {name: actual.get(name) for name in documented}
    if inspect.isclass(thing):
        assert documented == actual


def test_types_are_for_others_too():
    assert (pathlib.Path(kg.__file__).parent / "py.typed").is_file()


def test_version_is_that_of_the_installed_package():
    assert kg.__version__ == importlib.metadata.version("keras-gumbel")


def test_serialised_names_are_stable():
    """A saved model names its classes so: a change breaks every file."""
    assert {
        keras.saving.get_registered_name(thing)
        for thing in (
            kg.FiniteScalarQuantizer,
            kg.GumbelSigmoid,
            kg.GumbelQuantizer,
            kg.GumbelSinkhorn,
            kg.GumbelSoftmax,
            kg.HardConcreteGate,
            kg.GumbelSort,
            kg.GumbelTopK,
            kg.SampleArgmaxIndex,
            kg.VectorQuantizer,
            kg.metrics.CategoryUsage,
            kg.metrics.CodePerplexity,
            kg.schedules.ExponentialAnnealing,
            kg.estimators.GappedStraightThrough,
            kg.estimators.GumbelRao,
            kg.estimators.ReinMax,
            kg.estimators.StraightThrough,
            kg.estimators.StraightThroughGumbel,
        )
    } == {
        "keras_gumbel>FiniteScalarQuantizer",
        "keras_gumbel>GumbelSigmoid",
        "keras_gumbel>GumbelQuantizer",
        "keras_gumbel>GumbelSinkhorn",
        "keras_gumbel>GumbelSoftmax",
        "keras_gumbel>HardConcreteGate",
        "keras_gumbel>GumbelSort",
        "keras_gumbel>GumbelTopK",
        "keras_gumbel>SampleArgmaxIndex",
        "keras_gumbel>VectorQuantizer",
        "keras_gumbel>CategoryUsage",
        "keras_gumbel>CodePerplexity",
        "keras_gumbel>ExponentialAnnealing",
        "keras_gumbel>GappedStraightThrough",
        "keras_gumbel>GumbelRao",
        "keras_gumbel>ReinMax",
        "keras_gumbel>StraightThrough",
        "keras_gumbel>StraightThroughGumbel",
    }
