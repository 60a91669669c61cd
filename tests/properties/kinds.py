"""Every kind of sample there is, and what it can be asked for."""

import dataclasses
from collections.abc import Callable

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import keras_gumbel as kg

HALF = ("float16", "bfloat16")


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
        form: "rows", "index" (without the axis), "gates" (each entry by
            itself) or "matrix" (of the last two axes).
        takes_axis: Whether classes may be elsewhere than on the last axis.
    """

    name: str
    draw: Callable
    hard: bool = False
    noise: str | None = "gumbel"
    size: Callable | None = lambda classes: 1
    form: str = "rows"
    takes_axis: bool = True

    def __repr__(self):
        return self.name


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
        x, tf.eye(x.shape[-1], dtype=x.dtype), **arguments
    )


def soft(x, axis, **arguments):
    return kg.ops.gumbel_softmax(x, axis=axis, **arguments)


def hard_concrete(x, axis, **arguments):
    return kg.ops.hard_concrete(x, **arguments)


def two(classes):
    return min(2, classes)


SOFT = Kind("soft", soft)
INDEX = Kind("hard index", index(True), hard=True, form="index", size=None)
KINDS = (
    SOFT,
    INDEX,
    Kind("hard", one_hot("st_gumbel"), hard=True),
    Kind("hard pair", pair(True), hard=True, size=two),
    Kind("gumbel_rao", one_hot("gumbel_rao"), hard=True),
    *(
        Kind(name, one_hot(name), hard=True, noise=None)
        for name in ("st", "reinmax", "gapped_st")
    ),
    Kind("soft index", index(False), form="index", size=None),
    Kind("soft pair", pair(False), size=two),
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
        axes: Whether to move the classes about.
    """

    examples: int
    kinds: tuple
    shapes: tuple
    dtypes: tuple
    axes: bool

    def __str__(self):
        return f"{self.examples} examples"


GATE = Effort(5, (SOFT, INDEX), ((2, 3),), ("float16",), False)
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
    True,
)


def wide(x):
    """In NumPy, in float64."""
    return x.numpy().astype("float64")


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of sample, and what it is drawn from."""

    kind: Kind
    x: tf.Tensor
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
        return wide(self.x)

    def draw(self, x=None, **arguments):
        """A sample of these logits or of others."""
        given = {
            "temperature": self.temperature,
            "noise_scale": self.noise_scale,
            "seed": self.seed,
        }
        x = self.x if x is None else x
        return self.kind.draw(x, self.axis, **{**given, **arguments})

    def numbers(self, *args, **arguments):
        """The same in float64, of NumPy."""
        return wide(self.draw(*args, **arguments))

    def with_gradient(self, x=None, temperature=None, **arguments):
        """A sample, and the gradient of a weighted sum of it.

        To the logits, and to the temperature if that is given.
        """
        x = self.x if x is None else x
        sources = [x]
        if temperature is not None:
            sources.append(temperature)
            arguments["temperature"] = temperature
        with tf.GradientTape() as tape:
            tape.watch(sources)
            y = self.draw(x, **arguments)
            weights = np.random.default_rng(self.seed).uniform(-1, 1, y.shape)
            loss = tf.reduce_sum(y * tf.cast(weights, y.dtype))
        return y, *tape.gradient(loss, sources)

    def noise(self):
        """What is added to the logits, in float64."""
        sample = getattr(kg.ops, f"sample_{self.kind.noise}")
        dtype = "float64" if self.dtype == "float64" else "float32"
        g = sample(self.x.shape, dtype=dtype, seed=self.seed)
        return self.noise_scale * g.numpy().astype("float64")

    def row_axis(self):
        """Where the rows lie in a sample: along it there is one choice."""
        return -2 if self.kind.form == "matrix" else self.axis


def any_number(dtype):
    """Each finite number of the dtype."""
    kind = tf.dtypes.as_dtype(dtype)
    width = {"float64": 64, "float16": 16}.get(dtype, 32)
    largest = float(kind.max)
    # The ends by name too: by chance no two of them would meet.
    elements = st.sampled_from([largest, -largest]) | st.floats(
        -largest, largest, width=width
    )
    return arrays_of(kind.as_numpy_dtype, elements)


def arrays_of(kind, elements):
    def of_shape(shape):
        wide = np.float64
        return arrays.arrays(wide, shape, elements=elements).map(
            lambda x: x.astype(kind)
        )

    return of_shape


def whole_number(dtype):
    """Small ones, of which sums are exact in every dtype."""
    kind = tf.dtypes.as_dtype(dtype).as_numpy_dtype
    return arrays_of(kind, st.integers(-8, 8).map(float))


@st.composite
def cases(draw, effort, *, numbers, temperatures, kinds=lambda kind: True):
    """Cases of those kinds for which a property is one."""
    kind = draw(st.sampled_from([*filter(kinds, effort.kinds)]))
    shape = draw(st.sampled_from(effort.shapes))
    if kind.form == "matrix":
        shape = (*shape, shape[-1])
    dtype = draw(st.sampled_from(effort.dtypes))
    axis = -1
    if effort.axes and kind.takes_axis:
        allowed = [i for i in range(-len(shape), len(shape)) if shape[i]]
        axis = draw(st.sampled_from(allowed))
    return Case(
        kind=kind,
        x=tf.constant(draw(numbers(dtype)(shape))),
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
