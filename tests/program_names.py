"""The same name for the same program in each run, so that a cache finds it.

XLA's persistent cache looks for a program by its contents and by the name of
its function. TensorFlow numbers functions in the order of their traces, which
is that of the tests on this worker: with it half of the programs were missed.
Here the number comes from what is traced.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
import os
import threading

from tensorflow.python.eager.polymorphic_function import tracing_compilation
from tensorflow.python.framework import ops
from tensorflow.python.util import tf_decorator

# How many functions may be within another: branches, loops and their bodies.
WITHIN = 2**20


def install():
    """Number functions by what they are, for the rest of the process."""
    number_of_order = ops.uid
    create = tracing_compilation._create_concrete_function
    # The last number of each trace under way, innermost last.
    under_way = threading.local()
    # A function may be traced again, from the same arguments.
    times = collections.defaultdict(itertools.count)

    def uid():
        numbers = getattr(under_way, "numbers", None)
        if not numbers:
            return number_of_order()
        numbers[-1] += 1
        return numbers[-1]

    def create_numbered(function_type, type_context, func_graph, options):
        _, function = tf_decorator.unwrap(options.python_function)
        what = f"{_description(function)} {function_type}"
        what += f" {next(times[what])}"
        digest = hashlib.sha256(what.encode()).digest()
        if not hasattr(under_way, "numbers"):
            under_way.numbers = []
        under_way.numbers.append(int.from_bytes(digest[:5], "big") * WITHIN)
        try:
            return create(function_type, type_context, func_graph, options)
        finally:
            under_way.numbers.pop()

    ops.uid = uid
    tracing_compilation._create_concrete_function = create_numbered


def _description(function):
    """Return text that no run changes, and few other functions share.

    Those of the package serve many tests, whatever comes first.
    """
    module = getattr(function, "__module__", None) or ""
    if module.startswith("keras_gumbel."):
        return _values(function)
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    return f"{test} {module} {getattr(function, '__qualname__', '')}"


def _values(x):
    """Return what is of the package, with what it closes over, as text."""
    if isinstance(x, int | float | str):
        return repr(x)
    if isinstance(x, tuple | list):
        return repr([_values(one) for one in x])
    if isinstance(x, functools.partial):
        return _values([x.func, x.args, *x.keywords.items()])
    if hasattr(x, "__code__"):
        cells = [cell.cell_contents for cell in x.__closure__ or ()]
        return f"{x.__module__} {x.__qualname__} {_values(cells)}"
    kind = type(x).__qualname__
    if dataclasses.is_dataclass(x):
        fields = (getattr(x, field.name) for field in dataclasses.fields(x))
        return f"{kind} {_values(list(fields))}"
    return f"{kind} {x.get_config()}" if hasattr(x, "get_config") else kind
