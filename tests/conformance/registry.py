"""One row for each public layer and variant. A new layer joins by its row.

Every file of this folder runs over every row, so that what is promised of
one layer is tested of all.
"""

import collections
import dataclasses
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import pytest

import keras_gumbel as kg


@dataclasses.dataclass(frozen=True)
class Row:
    """A public layer in one variant.

    Attributes:
        layer: The class.
        variant: The arguments that make the variant.
        input_shape: Of a small input, the batch first.
        output_shape: Of what comes of it.
        settings: A value other than the default for every argument of the
            constructor, and the one to which `get_config` brings it.
        hard: Whether a sample is discrete.
        is_sample: Whether a NumPy array, in float64, could be a sample of
            this variant from logits that forbid nothing.
        is_index: Whether the output is float32 under every policy.
        is_gates: Whether each entry is a variable of its own, so that one
            that is alone in being allowed need not be chosen.
        takes_class_mask: Whether calls take `class_mask`, and apply it to each
            row by itself.
        padding: What comes of a mask from Keras that covers the classes,
            after it has forbidden some: `"kept"` by the output,
            `"dropped"`, or `"places"`, as many as there are classes left.
            None where no mask covers them.
        matrix: Whether a sample is of the last two axes together.
        label: What tells this variant from others of the same arguments.
        order: What each output can be learnt to be, where it is an order.
        k: How many classes a sample has, which sums to that.
        takes_logits: Whether the input is the logits of the sample.
        weights: How many the layer has that are not trained.
        trained_weights: How many that are.
        losses: How many it adds.
        slow: Whether the gate leaves this variant out. In it are those that
            differ most: of the layers with classes, gates, a table, weights
            and losses one each, in the variant that has most to it.
    """

    layer: type[keras.Layer]
    variant: dict[str, Any]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    settings: dict[str, tuple[Any, Any]]
    hard: bool
    is_sample: Callable[[np.ndarray], bool]
    is_index: bool = False
    is_gates: bool = False
    takes_class_mask: bool = True
    padding: str | None = "kept"
    takes_logits: bool = True
    matrix: bool = False
    label: str = ""
    order: np.ndarray | None = None
    weights: int = 1
    k: int = 1
    trained_weights: int = 0
    losses: int = 0
    slow: bool = False

    def __str__(self) -> str:
        kind = "hard" if self.hard else "soft"
        kind = self.variant.get("estimator", kind)
        kind = self.variant.get("output", kind)
        return f"{self.layer.__name__}-{kind}{self.label}"

    @property
    def square(self) -> bool:
        """Whether the last two sizes must be the same."""
        return self.matrix and self.input_shape[-2] == self.input_shape[-1]

    def create(self, **overrides: Any) -> keras.Layer:
        """The layer, with other arguments where they are given."""
        return self.layer(**{**self.variant, **overrides})

    def logits(
        self, batch: int | None = None, dtype: str = "float32"
    ) -> np.ndarray:
        """The same logits at each call; `batch` of them if it is given."""
        batch = self.input_shape[0] if batch is None else batch
        shape = (batch, *self.input_shape[1:])
        return np.random.default_rng(0).normal(size=shape).astype(dtype)

    def target(self, logits: np.ndarray) -> np.ndarray:
        """What `model` can learn to make of the logits."""
        target = np.zeros((len(logits), *self.output_shape[1:]), "float32")
        if self.order is not None:
            return target + self.order
        if self.is_index:
            return target + 3
        if self.matrix:
            columns = keras.ops.one_hot(
                kg.ops.linear_assignment(logits), logits.shape[-1]
            )
            return keras.ops.convert_to_numpy(columns)
        target[..., 3 : 3 + self.k] = 1
        return target

    def model(self, **overrides: Any) -> keras.Model:
        """A Functional model with weights to train before the layer.

        The same weights in each, and dimensions unknown where they can be.
        """
        classes = self.input_shape[-1]
        inputs = keras.Input([None] * (len(self.input_shape) - 2) + [classes])
        x = keras.layers.Dense(
            classes,
            kernel_initializer=keras.initializers.GlorotUniform(seed=1),
            name="dense",
        )(inputs)
        layer = self.create(**{"name": "choice", **overrides})
        return keras.Model(inputs, layer(x))

    def expected_dtype(self, dtype: str) -> str:
        """Of the output, for a compute dtype."""
        return "float32" if self.is_index else dtype


def _rows_are_one_hot(y: np.ndarray) -> bool:
    return bool(np.isin(y, (0.0, 1.0)).all() and (y.sum(axis=-1) == 1.0).all())


def _rows_are_relaxed(y: np.ndarray) -> bool:
    # Half precision rounds each entry by itself.
    sums = np.abs(y.sum(axis=-1) - 1)
    return bool((y >= 0).all() and (sums < 0.02).all() and (y % 1 > 0).any())


def _are_permutations(y: np.ndarray) -> bool:
    return _rows_are_one_hot(y) and _rows_are_one_hot(np.swapaxes(y, -1, -2))


def _are_matchings(y: np.ndarray) -> bool:
    return _rows_are_one_hot(y) and bool((y.sum(axis=-2) <= 1).all())


def _are_relaxed_matchings(y: np.ndarray) -> bool:
    return _rows_are_relaxed(y) and bool((y.sum(axis=-2) < 1.01).all())


def _columns_are_relaxed(y: np.ndarray) -> bool:
    return _rows_are_relaxed(np.swapaxes(y, -1, -2))


def _rows_are_two_hot(y: np.ndarray) -> bool:
    return bool(np.isin(y, (0.0, 1.0)).all() and (y.sum(axis=-1) == 2.0).all())


def _rows_are_relaxed_two_hot(y: np.ndarray) -> bool:
    sums = np.abs(y.sum(axis=-1) - 2)
    return bool((y >= 0).all() and (sums < 0.04).all() and (y % 1 > 0).any())


def _are_permutations_of_rows(y: np.ndarray) -> bool:
    return y.ndim == 4 and _are_permutations(y)


def _are_sorted(y: np.ndarray) -> bool:
    return bool(np.isfinite(y).all() and (y % 1 > 0).any())


def _are_ranks(y: np.ndarray) -> bool:
    return bool((np.sort(y, axis=-1) == np.arange(5)).all())


def _are_indices(y: np.ndarray) -> bool:
    return bool((y == np.floor(y)).all() and (y >= 0).all() and (y < 5).all())


def _are_mean_indices(y: np.ndarray) -> bool:
    return bool((y >= 0).all() and (y <= 4).all() and (y % 1 > 0).any())


def _are_numbers(y: np.ndarray) -> bool:
    return bool(np.isfinite(y).all() and (y != 0).any())


def _are_hard_gates(y: np.ndarray) -> bool:
    return bool(np.isin(y, (0.0, 1.0)).all())


def _are_relaxed_gates(y: np.ndarray) -> bool:
    return bool((y >= 0).all() and (y <= 1).all() and (y % 1 > 0).any())


_SCHEDULE = kg.schedules.ExponentialAnnealing(2.0, 0.1, 0.5, every=2)

_CATEGORICAL_SETTINGS = {
    "temperature": (_SCHEDULE, keras.saving.serialize_keras_object(_SCHEDULE)),
    "hard": (True, True),
    "axis": (1, 1),
    # An object of default settings, which its name stands for.
    "estimator": (kg.estimators.StraightThroughGumbel(), "st_gumbel"),
    "inference": ("sample", "sample"),
    "noise_scale": (0.5, 0.5),
    "from_logits": (False, False),
    "seed": (3, 3),
}

_GATE_SETTINGS = {
    name: setting
    for name, setting in _CATEGORICAL_SETTINGS.items()
    if name != "axis"
}

_SUBSET_SETTINGS = {
    "k": (3, 3),
    **{
        name: setting
        for name, setting in _CATEGORICAL_SETTINGS.items()
        if name != "estimator"
    },
}

_EMBEDDING_SETTINGS = {
    "input_dim": (5, 5),
    "output_dim": (2, 2),
    "embeddings_initializer": (
        "ones",
        keras.initializers.serialize(keras.initializers.Ones()),
    ),
    "embeddings_regularizer": (
        "l2",
        keras.regularizers.serialize(keras.regularizers.L2()),
    ),
    "embeddings_constraint": (
        "non_neg",
        keras.constraints.serialize(keras.constraints.NonNeg()),
    ),
    **{
        name: setting
        for name, setting in _CATEGORICAL_SETTINGS.items()
        if name not in ("hard", "axis")
    },
}

_HARD_CONCRETE_SETTINGS = {
    "axis": ((1, 2), [1, 2]),
    "temperature": _CATEGORICAL_SETTINGS["temperature"],
    "l0_weight": _CATEGORICAL_SETTINGS["temperature"],
    "stretch": ((-0.2, 1.3), [-0.2, 1.3]),
    "log_alpha_initializer": (
        "ones",
        keras.initializers.serialize(keras.initializers.Ones()),
    ),
    **{
        name: _CATEGORICAL_SETTINGS[name]
        for name in ("inference", "noise_scale", "seed")
    },
}

_QUANTIZER_SETTINGS = {
    "num_codes": (5, 5),
    "code_dim": (4, 4),
    "num_groups": (2, 2),
    "temperature": _CATEGORICAL_SETTINGS["temperature"],
    "hard": (False, False),
    "estimator": _CATEGORICAL_SETTINGS["estimator"],
    "kl_weight": _CATEGORICAL_SETTINGS["temperature"],
    "kernel_initializer": (
        "ones",
        keras.initializers.serialize(keras.initializers.Ones()),
    ),
    "use_bias": (False, False),
    "embeddings_initializer": _EMBEDDING_SETTINGS["embeddings_initializer"],
    "similarity": ("distance", "distance"),
    "diversity_weight": _CATEGORICAL_SETTINGS["temperature"],
    "init_from_data": (False, False),
    "restart_after": (7, 7),
    **{
        name: _CATEGORICAL_SETTINGS[name]
        for name in ("inference", "noise_scale", "seed")
    },
}

_VECTOR_SETTINGS = {
    "num_codes": (5, 5),
    "num_groups": (3, 3),
    "num_stages": (2, 2),
    "temperature": _CATEGORICAL_SETTINGS["temperature"],
    "noise_scale": (0.5, 0.5),
    "estimator": ("reinmax", "reinmax"),
    "distance": ("cosine", "cosine"),
    "update": ("loss", "loss"),
    "commitment_weight": _CATEGORICAL_SETTINGS["temperature"],
    "decay": (0.9, 0.9),
    "init_from_data": (False, False),
    "restart_after": (7, 7),
    "stage_dropout": (0.5, 0.5),
    "embeddings_initializer": _EMBEDDING_SETTINGS["embeddings_initializer"],
    "inference": ("sample", "sample"),
    "seed": (3, 3),
}

_SCALAR_SETTINGS = {
    "levels": ((2, 2), [2, 2]),
    "temperature": _CATEGORICAL_SETTINGS["temperature"],
    "entropy_weight": _CATEGORICAL_SETTINGS["temperature"],
    "noise_scale": (0.5, 0.5),
    "inference": ("sample", "sample"),
    "seed": (3, 3),
}

_SORT_SETTINGS = {
    "temperature": _CATEGORICAL_SETTINGS["temperature"],
    "hard": (True, True),
    "output": ("ranks", "ranks"),
    "descending": (False, False),
    **{
        name: _CATEGORICAL_SETTINGS[name]
        for name in ("inference", "noise_scale", "from_logits", "seed")
    },
}

_SINKHORN_SETTINGS = {
    "temperature": _CATEGORICAL_SETTINGS["temperature"],
    "num_iterations": (7, 7),
    **{
        name: setting
        for name, setting in _CATEGORICAL_SETTINGS.items()
        if name not in ("temperature", "axis", "estimator")
    },
}

_SHAPE = (4, 3, 5)
_SQUARE = (4, 5, 5)

# A `GumbelQuantizer` whose codes move by their gradients alone.
STAYING = {
    "diversity_weight": None,
    "init_from_data": False,
    "restart_after": None,
}

# With these weights features are logits, and the vector of a code its one-hot.
_IDENTITY = {
    "num_codes": 5,
    "code_dim": 5,
    "kernel_initializer": "identity",
    "use_bias": False,
    "embeddings_initializer": "identity",
    "trainable": False,
    **STAYING,
}

LAYERS = (
    Row(
        kg.GumbelSoftmax,
        {"hard": False},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_CATEGORICAL_SETTINGS,
        hard=False,
        is_sample=_rows_are_relaxed,
    ),
    Row(
        kg.GumbelSoftmax,
        {"hard": True},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_CATEGORICAL_SETTINGS,
        hard=True,
        is_sample=_rows_are_one_hot,
    ),
    Row(
        kg.GumbelSoftmax,
        # By one number a row, and not by the noise of the others.
        {"hard": True, "estimator": "reinmax"},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_CATEGORICAL_SETTINGS,
        hard=True,
        is_sample=_rows_are_one_hot,
        slow=True,
    ),
    Row(
        kg.SampleArgmaxIndex,
        {"hard": False},
        input_shape=_SHAPE,
        output_shape=_SHAPE[:-1],
        settings=_CATEGORICAL_SETTINGS,
        hard=False,
        is_sample=_are_mean_indices,
        is_index=True,
        slow=True,
        padding="dropped",
    ),
    Row(
        kg.SampleArgmaxIndex,
        {"hard": True},
        input_shape=_SHAPE,
        output_shape=_SHAPE[:-1],
        settings=_CATEGORICAL_SETTINGS,
        hard=True,
        is_sample=_are_indices,
        is_index=True,
        slow=True,
        padding="dropped",
    ),
    Row(
        kg.GumbelEmbedding,
        # With this table the vector of a class is its one-hot.
        {
            "input_dim": 5,
            "output_dim": 5,
            "embeddings_initializer": "identity",
            "trainable": False,
        },
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_EMBEDDING_SETTINGS,
        hard=True,
        is_sample=_rows_are_one_hot,
        weights=2,
        padding="dropped",
    ),
    Row(
        kg.HardConcreteGate,
        {},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_HARD_CONCRETE_SETTINGS,
        hard=False,
        is_sample=_are_numbers,
        takes_class_mask=False,  # of five classes: it has its own tests
        takes_logits=False,
        weights=2,
        trained_weights=1,
        losses=1,
        padding=None,
    ),
    Row(
        kg.GumbelSigmoid,
        {"hard": False},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_GATE_SETTINGS,
        hard=False,
        is_sample=_are_relaxed_gates,
        is_gates=True,
        slow=True,
    ),
    Row(
        kg.GumbelSigmoid,
        {"hard": True},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_GATE_SETTINGS,
        hard=True,
        is_sample=_are_hard_gates,
        is_gates=True,
    ),
    Row(
        kg.GumbelQuantizer,
        {"hard": False, **_IDENTITY},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_QUANTIZER_SETTINGS,
        hard=False,
        is_sample=_rows_are_relaxed,
        takes_class_mask=False,  # of a group: it has its own tests
        weights=3,
        slow=True,
        padding=None,
    ),
    Row(
        kg.GumbelQuantizer,
        {"hard": True, **_IDENTITY},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_QUANTIZER_SETTINGS,
        hard=True,
        is_sample=_rows_are_one_hot,
        takes_class_mask=False,
        weights=3,
        padding=None,
    ),
    Row(
        kg.GumbelSinkhorn,
        {"hard": False},
        input_shape=_SQUARE,
        output_shape=_SQUARE,
        settings=_SINKHORN_SETTINGS,
        hard=False,
        slow=True,
        is_sample=_columns_are_relaxed,
        takes_class_mask=False,
        matrix=True,
    ),
    Row(
        kg.GumbelSinkhorn,
        {"hard": True},
        input_shape=_SQUARE,
        output_shape=_SQUARE,
        settings=_SINKHORN_SETTINGS,
        hard=True,
        slow=True,
        is_sample=_are_permutations,
        takes_class_mask=False,
        matrix=True,
    ),
    Row(
        kg.GumbelSinkhorn,
        # The last step is that of the columns; in 20 iterations rows are up to
        # 0.06 off.
        {"hard": False, "num_iterations": 100},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SINKHORN_SETTINGS,
        hard=False,
        slow=True,
        is_sample=_are_relaxed_matchings,
        takes_class_mask=False,
        matrix=True,
        label="-wide",
    ),
    Row(
        kg.GumbelSinkhorn,
        {"hard": True},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SINKHORN_SETTINGS,
        hard=True,
        slow=True,
        is_sample=_are_matchings,
        takes_class_mask=False,
        matrix=True,
        label="-wide",
    ),
    Row(
        kg.GumbelSort,
        {"hard": False},
        input_shape=_SHAPE,
        output_shape=(*_SHAPE, 5),
        settings=_SORT_SETTINGS,
        hard=False,
        slow=True,
        is_sample=_rows_are_relaxed,
        takes_class_mask=False,  # an entry has no place: it has its own tests
        padding="places",
        order=np.eye(5, dtype="float32"),
    ),
    Row(
        kg.GumbelSort,
        {"hard": True},
        input_shape=_SHAPE,
        output_shape=(*_SHAPE, 5),
        settings=_SORT_SETTINGS,
        hard=True,
        slow=True,
        is_sample=_are_permutations_of_rows,
        takes_class_mask=False,
        padding="places",
        order=np.eye(5, dtype="float32"),
    ),
    Row(
        kg.GumbelSort,
        {"hard": False, "output": "sorted"},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SORT_SETTINGS,
        hard=False,
        slow=True,
        is_sample=_are_sorted,
        takes_class_mask=False,
        padding="places",
    ),
    Row(
        kg.GumbelSort,
        {"hard": True, "output": "ranks"},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SORT_SETTINGS,
        hard=True,
        slow=True,
        is_sample=_are_ranks,
        is_index=True,
        takes_class_mask=False,
        order=np.arange(5, dtype="float32"),
    ),
    Row(
        kg.GumbelTopK,
        {"k": 2, "hard": False},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SUBSET_SETTINGS,
        hard=False,
        slow=True,
        is_sample=_rows_are_relaxed_two_hot,
        k=2,
    ),
    Row(
        kg.GumbelTopK,
        {"k": 2, "hard": True},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SUBSET_SETTINGS,
        hard=True,
        slow=True,
        is_sample=_rows_are_two_hot,
        k=2,
    ),
    Row(
        kg.VectorQuantizer,
        # Every sample is the one-hot of a code.
        {
            "num_codes": 5,
            "noise_scale": 1.0,
            "estimator": "st_gumbel",
            "update": "loss",
            "commitment_weight": 0.0,
            "init_from_data": False,
            "restart_after": None,
            "embeddings_initializer": "identity",
            "trainable": False,
        },
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_VECTOR_SETTINGS,
        hard=True,
        is_sample=_rows_are_one_hot,
        takes_class_mask=False,
        takes_logits=False,
        weights=3,
        losses=1,
        padding=None,
    ),
    Row(
        kg.FiniteScalarQuantizer,
        {"levels": (5, 5, 5, 5, 5), "noise_scale": 1.0},
        input_shape=_SHAPE,
        output_shape=_SHAPE,
        settings=_SCALAR_SETTINGS,
        hard=True,
        is_sample=_are_numbers,
        takes_class_mask=False,
        takes_logits=False,
        padding=None,
    ),
)


# Where a test is dear, these are in the gate: they differ most, in weights,
# losses and metrics.
TRAINED = (
    "GumbelSoftmax-hard",
    "GumbelQuantizer-hard",
    "HardConcreteGate-soft",
)


# Every layer in one variant, in three parts: where a test is dear, one part is
# in its gate, and the others in those of its neighbours.
PARTS = (
    (
        "GumbelSoftmax-hard",
        "HardConcreteGate-soft",
        "GumbelTopK-hard",
        "VectorQuantizer-st_gumbel",
        "GumbelSort-hard",
    ),
    (
        "GumbelQuantizer-hard",
        "GumbelSigmoid-hard",
        "SampleArgmaxIndex-soft",
        "FiniteScalarQuantizer-hard",
        "GumbelSort-ranks",
    ),
    (
        "GumbelEmbedding-hard",
        "GumbelSinkhorn-soft",
        "GumbelSoftmax-soft",
        "GumbelSoftmax-reinmax",
        "GumbelSort-sorted",
    ),
)
ONE_OF_EACH = tuple(name for part in zip(*PARTS, strict=True) for name in part)


def each_of(
    rows: Iterable[Row], gate: Container[str] | None = None
) -> pytest.MarkDecorator:
    """A test over these rows, each marked as it says.

    Where the test is dear, `gate` names the only ones that are not slow.
    """

    def marks(row: Row) -> list[pytest.MarkDecorator]:
        left_out = row.slow if gate is None else str(row) not in gate
        return [pytest.mark.slow] if left_out else []

    return pytest.mark.parametrize(
        "row", [pytest.param(row, marks=marks(row)) for row in rows], ids=str
    )


each_layer = each_of(LAYERS)


def covering(
    rows: Iterable[Row],
    argument: str,
    values: Iterable[Any],
    gate: Sequence[str] = ONE_OF_EACH,
) -> pytest.MarkDecorator:
    """A test over rows and values of an argument.

    In the gate are the rows that `gate` names, each with one of the values in
    turn, so that every one of both comes. Of the rest the slow tests have every
    value of every layer: variants of one layer share the values in turn, so
    that each of two neighbours has one half.
    """
    rows, values = [*rows], [*values]
    chosen = [name for name in gate if name in {*map(str, rows)}]
    kept = {(name, n % len(values)) for n, name in enumerate(chosen)}
    variants = collections.Counter(row.layer for row in rows)

    def case(row: Row, number: int) -> Any:
        left_out = (str(row), number) not in kept
        value = values[number]
        return pytest.param(
            row,
            value,
            marks=[pytest.mark.slow] if left_out else [],
            id=f"{row}-{getattr(value, '__name__', value)}",
        )

    cases = [
        case(row, n)
        for place, row in enumerate(rows)
        for n in range(len(values))
        if (str(row), n) in kept
        or variants[row.layer] == 1
        or (place + n) % 2 == 0
    ]
    return pytest.mark.parametrize(("row", argument), cases)


def chosen(
    request: pytest.FixtureRequest, argument: str, test: str | None = None
) -> set[str]:
    """The values, as text, with which this module's tests are to run.

    Of all of its tests, or of one.
    """
    return {
        str(item.callspec.params[argument])
        for item in request.session.items
        if item.path == request.path
        and test in (None, item.originalname)
        and argument in getattr(getattr(item, "callspec", None), "params", ())
    }


def chosen_rows(
    request: pytest.FixtureRequest, test: str | None = None
) -> list[Row]:
    """Those that this test, or any of the fixture's module, is to run over."""
    names = chosen(request, "row", test)
    return [row for row in LAYERS if str(row) in names]


def as_array(x: Any) -> np.ndarray:
    """`x` in float64, bfloat16 too."""
    if keras.backend.standardize_dtype(x.dtype) == "bfloat16":
        # TensorFlow 2.21 gives NumPy no scalar of it.
        x = keras.ops.cast(x, "float32")
    return np.asarray(keras.ops.convert_to_numpy(x)).astype("float64")
