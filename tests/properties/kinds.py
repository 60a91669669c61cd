"""Every kind of sample there is, and what it can be asked for."""

import dataclasses
from collections.abc import Callable

import hypothesis
import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import keras_gumbel as kg
from keras_gumbel.ops.gumbel_sort import sample_order
from tests.harness import tensor, to_numpy, value_and_grad
from tests.variants import slow

HALF = ("float16", "bfloat16")
# Of the computation, by dtype of the logits.
FLOAT = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A function of logits, or one variant of it.

    Attributes:
        name: What a failing example shows.
        draw: (x, axis, **arguments) -> samples.
        hard: Whether samples are discrete.
        noise: Which noise is added to the logits, one number each: "gumbel",
            "logistic"; None where the class is drawn otherwise.
        size: K -> what a row sums to; None where rows are no sums.
        form: "rows", "ranks", "index" (without the axis), "gates" (each
            entry by itself), "matrix" or "wide matrix" (of the last two axes).
        takes_axis: Whether classes may be elsewhere than on the last axis.
        takes_scale: Whether noise can be scaled, and so left out.
    """

    name: str
    draw: Callable
    hard: bool = False
    noise: str | None = "gumbel"
    size: Callable | None = lambda classes: 1
    form: str = "rows"
    takes_axis: bool = True
    takes_scale: bool = True

    def __repr__(self):
        return self.name

    @property
    def is_number(self):
        """Whether a sample is of numbers of classes, in float32."""
        return self.form in ("index", "ranks")

    @property
    def is_matrix(self):
        """Whether a sample is of the last two axes together."""
        return self.form in ("matrix", "wide matrix")


def one_hot(estimator):
    def draw(x, axis, **arguments):
        return kg.ops.gumbel_softmax(
            x, axis=axis, hard=True, estimator=estimator, **arguments
        )

    return draw


def index(hard):
    def draw(x, axis, **arguments):
        return kg.ops.sample_argmax_index(x, axis=axis, hard=hard, **arguments)

    return draw


def pair(hard):
    def draw(x, axis, **arguments):
        k = min(2, x.shape[axis])
        return kg.ops.gumbel_top_k(x, k, axis=axis, hard=hard, **arguments)[0]

    return draw


def pair_of_rows(hard):
    """The same, with a number for each row."""

    def draw(x, axis, **arguments):
        classes = x.shape[axis]
        sizes = [1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
        return kg.ops.gumbel_top_k(
            x,
            np.full(sizes, min(2, classes)),
            max_k=min(3, classes),
            axis=axis,
            hard=hard,
            **arguments,
        )[0]

    return draw


def conditional(function):
    """Return the draw of a function without temperature and noise scale."""

    def draw(x, axis, temperature, noise_scale, seed, **arguments):
        if function is kg.ops.conditional_poisson_subset:
            arguments["seed"] = seed
        y = function(x, min(2, x.shape[axis]), axis=axis, **arguments)
        # So that there is a gradient to the temperature.
        return y + keras.ops.cast(0 * temperature, y.dtype)

    return draw


def ranks(hard):
    def draw(x, axis, temperature=1.0, class_mask=None, **arguments):
        return sample_order(
            x,
            temperature,
            output="ranks",
            hard=hard,
            descending=True,
            class_mask=class_mask,
            **arguments,
        )

    return draw


def gates(hard):
    def draw(x, axis, **arguments):
        return kg.ops.gumbel_sigmoid(x, hard=hard, **arguments)

    return draw


def matrices(hard):
    def draw(x, axis, **arguments):
        return kg.ops.gumbel_sinkhorn(x, hard=hard, **arguments)

    return draw


def rows_of_a_table(x, axis, **arguments):
    # Of an identity, so that the rows are the one-hots.
    return kg.ops.sample_embedding(
        x, keras.ops.eye(x.shape[-1], dtype=x.dtype), **arguments
    )


def soft(x, axis, **arguments):
    return kg.ops.gumbel_softmax(x, axis=axis, **arguments)


def hard_concrete(x, axis, **arguments):
    return kg.ops.hard_concrete(x, **arguments)


def two(classes):
    return min(2, classes)


KINDS = (
    Kind("soft", soft),
    Kind("hard", one_hot("st_gumbel"), hard=True),
    Kind("gumbel_rao", one_hot("gumbel_rao"), hard=True),
    *(
        Kind(name, one_hot(name), hard=True, noise=None)
        for name in ("st", "reinmax", "gapped_st")
    ),
    Kind("soft index", index(False), form="index", size=None),
    Kind("hard index", index(True), hard=True, form="index", size=None),
    Kind("soft pair", pair(False), size=two),
    Kind("hard pair", pair(True), hard=True, size=two),
    Kind("soft pair of rows", pair_of_rows(False), size=two),
    Kind("hard pair of rows", pair_of_rows(True), hard=True, size=two),
    Kind(
        "marginals of a pair",
        conditional(kg.ops.conditional_poisson_marginals),
        noise=None,
        size=two,
    ),
    Kind(
        "conditional pair",
        conditional(kg.ops.conditional_poisson_subset),
        hard=True,
        noise=None,
        size=two,
        takes_scale=False,
    ),
    Kind("soft ranks", ranks(False), form="ranks", size=None, takes_axis=False),
    Kind(
        "hard ranks",
        ranks(True),
        hard=True,
        form="ranks",
        size=lambda classes: classes * (classes - 1) / 2,
        takes_axis=False,
    ),
    Kind("soft gates", gates(False), noise="logistic", size=None, form="gates"),
    Kind(
        "hard gates",
        gates(True),
        hard=True,
        noise="logistic",
        size=None,
        form="gates",
    ),
    Kind("hard_concrete", hard_concrete, noise=None, size=None, form="gates"),
    Kind("soft matrix", matrices(False), form="matrix", takes_axis=False),
    Kind(
        "hard matrix",
        matrices(True),
        hard=True,
        form="matrix",
        takes_axis=False,
    ),
    Kind(
        "soft wide matrix",
        matrices(False),
        size=None,
        form="wide matrix",
        takes_axis=False,
    ),
    Kind(
        "hard wide matrix",
        matrices(True),
        hard=True,
        size=None,
        form="wide matrix",
        takes_axis=False,
    ),
    Kind("row of a table", rows_of_a_table, hard=True, takes_axis=False),
)


@dataclasses.dataclass(frozen=True)
class Effort:
    """What examples are made of. A new one of these is a new program.

    Attributes:
        examples: How many of each property.
        kinds: Of sample.
        shapes: Of the logits; a matrix repeats the last size.
        dtypes: Of the logits.
        axis: Where the classes are; None moves them about.
    """

    examples: int
    kinds: tuple
    shapes: tuple
    dtypes: tuple
    axis: int | None = None

    def __str__(self):
        if len(self.kinds) > 1:
            return f"{self.examples} examples"
        (kind,), (shape,), (dtype,) = self.kinds, self.shapes, self.dtypes
        return f"{kind} {shape} {dtype}"


# Each kind as one program or two; all together, of each dtype, rank and axis.
GATE = tuple(
    Effort(
        4, tuple(k for k in KINDS if k.name == name), (shape,), (dtype,), axis
    )
    for name, shape, dtype, axis in (
        ("soft", (2, 3), "float16", -1),
        ("soft", (2, 1, 4), "float64", 0),
        ("hard", (2, 3), "float32", 0),
        ("hard", (0, 3), "float32", -1),
        ("gumbel_rao", (2, 3), "bfloat16", 1),
        ("st", (2, 3), "float16", 0),
        ("reinmax", (2, 1, 4), "float32", 2),
        ("gapped_st", (1, 2, 3, 2), "float32", 2),
        ("soft index", (3,), "float64", 0),
        ("hard index", (2, 1, 4), "float16", -3),
        ("soft pair", (2, 3), "float32", -2),
        ("hard pair", (2, 1, 4), "bfloat16", -1),
        ("soft pair of rows", (2, 1, 4), "float16", 0),
        ("hard pair of rows", (2, 4), "float64", -1),
        ("marginals of a pair", (2, 1, 4), "float32", 0),
        ("conditional pair", (2, 3), "float16", 1),
        ("soft ranks", (2, 3), "float16", -1),
        ("hard ranks", (2, 1, 4), "float32", -1),
        ("soft gates", (3,), "float16", -1),
        ("hard gates", (4, 1), "float32", 0),
        ("hard_concrete", (2, 3), "bfloat16", -1),
        ("soft matrix", (2, 3), "float32", -1),
        ("hard matrix", (3,), "float16", -1),
        ("soft wide matrix", (2, 3), "float16", -1),
        ("hard wide matrix", (2, 3), "float32", -1),
        ("row of a table", (2, 1, 1, 1, 3), "float32", -1),
    )
)
WHOLE = Effort(
    40,
    KINDS,
    (
        (3,),
        (1,),
        (2, 3),
        (4, 1),
        (2, 1, 4),
        (0, 3),
        (1, 2, 3, 2),
        (2, 1, 1, 1, 3),
    ),
    (*HALF, "float32", "float64"),
)


def each_effort(
    kinds=lambda kind: True, dtypes=WHOLE.dtypes, examples=4, gate=None
):
    """Parametrised by `effort`: the kinds and dtypes that a property is of.

    Args:
        kinds: Whether it is of a kind.
        dtypes: Those that it is of.
        examples: How many of each program in the gate.
        gate: Names of kinds, where the gate has not time for all of them.
    """
    here, left_out = [], []
    for effort in GATE:
        (kind,), (dtype,) = effort.kinds, effort.dtypes
        if kinds(kind) and dtype in dtypes:
            effort = dataclasses.replace(effort, examples=examples)
            few = gate is not None and kind.name not in gate
            (left_out if few else here).append(effort)
    whole = dataclasses.replace(
        WHOLE, kinds=tuple(filter(kinds, KINDS)), dtypes=tuple(dtypes)
    )
    return pytest.mark.parametrize(
        "effort", [*here, *slow(*left_out, whole)], ids=str
    )


def wide(x):
    """In NumPy, in float64."""
    return np.asarray(to_numpy(x)).astype("float64")


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of sample, and what it is drawn from."""

    kind: Kind
    x: np.ndarray
    axis: int
    temperature: float
    noise_scale: float
    seed: int

    @property
    def classes(self):
        return self.x.shape[self.axis]

    @property
    def dtype(self):
        return self.x.dtype.name

    def logits(self):
        """In float64."""
        return self.x.astype("float64")

    def draw(self, x=None, temperature=None, **arguments):
        """A sample of these logits or of others.

        Of a temperature that could be learned, in every property: to others
        there are other programs.
        """
        if temperature is None:
            temperature = np.array(self.temperature, FLOAT[self.dtype])
        given = {"noise_scale": self.noise_scale, "seed": self.seed}
        return self.kind.draw(
            tensor(self.x if x is None else x),
            self.axis,
            temperature=tensor(temperature),
            **{**given, **arguments},
        )

    def numbers(self, *args, **arguments):
        """The same in float64, of NumPy."""
        return wide(self.draw(*args, **arguments))

    def weights(self):
        """One for each number of a sample, exact in every dtype."""
        shape = list(self.x.shape)
        if self.kind.form == "index":
            del shape[self.axis]
        return np.random.default_rng(self.seed).integers(-8, 9, shape) / 8

    def with_gradient(self, x=None, temperature=None, **arguments):
        """A sample, and the gradients of a weighted sum of it.

        To the logits and to the temperature.
        """
        x = self.x if x is None else x
        if temperature is None:
            temperature = np.array(self.temperature, FLOAT[self.dtype])
        y, gradients = value_and_grad(
            lambda x, temperature: self.draw(x, temperature, **arguments),
            x,
            temperature,
            upstream=self.weights(),
        )
        return y, *gradients

    def noise(self):
        """What is added to the logits, in float64."""
        sample = getattr(kg.ops, f"sample_{self.kind.noise}")
        dtype = "float64" if self.dtype == "float64" else "float32"
        return self.noise_scale * wide(
            sample(self.x.shape, dtype=dtype, seed=self.seed)
        )

    def row_axis(self):
        """Where the rows lie in a sample: along it there is one choice."""
        return -2 if self.kind.is_matrix else self.axis


def largest(dtype):
    return float(ml_dtypes.finfo(np.dtype(dtype)).max)


def any_number(dtype):
    """Each finite number of the dtype."""
    width = {"float64": 64, "float16": 16}.get(dtype, 32)
    end = largest(dtype)
    # The ends by name too: by chance no two of them would meet.
    elements = st.sampled_from([end, -end]) | st.floats(-end, end, width=width)
    return arrays_of(dtype, elements)


def arrays_of(dtype, elements):
    def of_shape(shape):
        wide = np.float64
        return arrays.arrays(wide, shape, elements=elements).map(
            lambda x: x.astype(dtype)
        )

    return of_shape


def whole_number(dtype):
    """Small ones, of which sums are exact in every dtype."""
    return arrays_of(dtype, st.integers(-8, 8).map(float))


@st.composite
def cases(draw, effort, *, numbers, temperatures):
    """Cases of what an effort names."""
    kind = draw(st.sampled_from(effort.kinds))
    shape = draw(st.sampled_from(effort.shapes))
    if kind.is_matrix:
        more = 2 if kind.form == "wide matrix" else 0
        shape = (*shape, shape[-1] + more)
    dtype = draw(st.sampled_from(effort.dtypes))
    axis = -1
    if kind.takes_axis:
        allowed = [i for i in range(-len(shape), len(shape)) if shape[i]]
        axis = effort.axis
        axis = draw(st.sampled_from(allowed)) if axis is None else axis
    return Case(
        kind=kind,
        x=draw(numbers(dtype)(shape)),
        axis=axis,
        temperature=draw(temperatures),
        noise_scale=draw(st.sampled_from([1.0, 0.5, 2.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


# From 1e-6 to 1e6.
ANY_TEMPERATURE = st.floats(-6, 6).map(lambda power: 10.0**power)
# Where sums of rounded numbers still say something.
MILD = st.floats(0.5, 10.0)


def check(law, strategy, examples, seed):
    """Look for an example where `law` does not hold."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    @hypothesis.given(strategy)
    def run(example):
        law(example)

    run()
