"""u . J v, from either side: by `GradientTape` and by `ForwardAccumulator`."""

import tensorflow as tf


def _weigh(y):
    """u . y, with another weight for each entry, the same at each call."""
    flat = tf.cast(tf.reshape(y, [-1]), "float64")
    number = tf.range(1, tf.size(flat) + 1)
    return tf.reduce_sum(flat * tf.sin(tf.cast(number, "float64")))


def by_reverse_mode(function, primals, tangents):
    """(u J) . v."""
    with tf.GradientTape() as tape:
        tape.watch(primals)
        value = _weigh(function(*primals))
    gradients = tape.gradient(value, primals, unconnected_gradients="zero")
    return tf.add_n(
        [
            tf.reduce_sum(tf.cast(g * v, "float64"))
            for g, v in zip(gradients, tangents, strict=True)
        ]
    )


def by_forward_mode(function, primals, tangents):
    """u . (J v)."""
    with tf.autodiff.ForwardAccumulator(primals, tangents) as accumulator:
        y = function(*primals)
    return _weigh(accumulator.jvp(y, unconnected_gradients="zero"))


def _in_one_graph(function):
    def run(primals, tangents):
        # The accumulator is in the graph too.
        return tf.function(
            lambda p, v: by_forward_mode(function, p, v), autograph=False
        )(primals, tangents)

    return run


def _around_a_graph(**options):
    def with_options(function):
        graph = tf.function(function, autograph=False, **options)
        return lambda primals, tangents: by_forward_mode(
            graph, primals, tangents
        )

    return with_options


# What an accumulator may be put around, `(primals, tangents) -> u . J v`.
PLACES = {
    "eager": lambda function: lambda p, v: by_forward_mode(function, p, v),
    "graph": _around_a_graph(),
    "xla": _around_a_graph(jit_compile=True),
    "within a graph": _in_one_graph,
}
