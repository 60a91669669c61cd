"""The backend: random bits, backward rules and compilation for `keras.ops`.

This is the whole contract between the package and a framework. All other code
uses `keras.ops`, so another framework is one more folder like `tensorflow`:

    next_key(seed)              the key of the next draw, for a program
    is_key(seed)                whether it is a key of the framework's own
    integer_seed(seed)          an integer in place of such a key
    stream(seed)                a generator that begins with an integer seed
    state_of(generator)         its state, as files store it
    set_apart(generator, name)  give it a stream of its own, by name
    is_set_apart(generator)     whether `set_apart` was called on it
    shares_objects()            whether Keras reads or writes a file
    check_can_change(variable)  raise where a change would be lost
    fetch_and_add(variable, amount)  a count; no two callers read the same
    remat(function)             its gradient runs it again, with the same draws
    replica()                   the number of this replica, and their count
    sum_over_replicas(x)        the sum of the `x` of all replicas
    value_once(variable)        its value, read once in a block of `remat`
    hand_on(take, value)        `take(value)`, once in a block of `remat`
    random_bits(shape, key, start)   64 bits per number, from `start` on
    unchecked(function)         exempt from checks for NaN and infinity
    cached(function)            `functools.cache`, except in a trace
    compiled(function)          one program, in eager and graph mode alike
    with_gradient(...)          a forward pass with its own backward rule
    once_only(backward, what)   compiled; an error to differentiate it again
    traced_gradient(function)        x -> d sum(function(x)) / dx
    unfused_unless_zero(...)    computed once, however many read it
    is_known_zero(x)            whether all entries are known now to be 0
    materialize(x)              a barrier to the compiler's simplification
    sum_over(count, term, ...)  a sum that holds one term at a time
    straight_through(hard, soft)     value of `hard`, gradient to `soft`
    bitcast(x, dtype)           the same bits in another dtype
    unsigned(word, dtype)       an int32 read without a sign, as a float
    argmax(x, axis)             the first largest entry, by one operation
    max(x, axis, ...)           `keras.ops.max`, also without rows
    min(x, axis, ...)           `keras.ops.min`, also without rows
    matmul(x, y)                `keras.ops.matmul`, in float64 where `x` is
    maximum(x, y)               `keras.ops.maximum`, likewise
    minimum(x, y)               `keras.ops.minimum`, likewise
    argsort(x, axis)            `keras.ops.argsort`, the first on ties
    top_k(x, k)                 the largest per row, the first on ties
    loop(count, step, state)    `state = step(n, *state)` for each n < count
    loops_are_written_out()     whether a program repeats a loop's body
    scan(step, start, table)    `keras.ops.scan`, over any number of entries
    bitwise_xor(x, y)           `keras.ops.bitwise_xor`
    right_shift(x, count)       `keras.ops.right_shift`, with the sign
    one_hot(x, size, axis, dtype)    `keras.ops.one_hot`
    isnan(x)                    `keras.ops.isnan`, in a loop with others
    take_along_axis(x, places, axis)   `keras.ops.take_along_axis`
    segment_sum(x, ids, count)  `keras.ops.segment_sum`, in the dtype of `x`
    log_gamma(x)                log((x - 1)!)
    sum_to_shape(x, shape)      the transpose of broadcasting
    programs_are_sized()        whether programs are compiled for a call's sizes
    fuses()                     whether elementwise formulas become one loop
    native(function)            the framework's own kernel, if it has one
    enlarged(x, shape, filler)  padded at the end of each axis
    corner(x, shape)            the first entries of each axis
    reshaped(x, shape)          `keras.ops.reshape`, quick in eager code
    run_of_rows(x, start, size) consecutive rows of a matrix
    with_rows(x, start, rows)   consecutive rows replaced; `x` is used up
    checkpoint_with(layer, name, variable)   add it to native checkpoints
    trace(function, *args)      run it for its errors, without values
    input_signature(model)      the specs of a model's inputs
    layout(x)                   dense, ragged or sparse
    with_at_least(x, size, axis, message)    an error if the axis is shorter
    is_in_inner_graph()         whether a layer traces a loop or branch here
    has_value(variable)         whether it can be read
    has_numbers(x)              whether it is more than a shape
    value_now(variable)         its value while a graph is traced
    mask_of(x)                  the mask that Keras attached to it
    widest_float()              the dtype in which sums are most exact
    trains_by_values()          whether Keras trains by values, not variables
    export_format()             the format that an exporter writes
    exports_xor()               whether the file has XOR of integers
    refuse_export(reason)       raise an error that exporters show
    rank(x)                     the number of axes, None if unknown
    sizes(x)                    the sizes of a tensor, numbers where known
    static_shape(x)             the sizes of a tensor or shape, None if unknown
    to_tensor(x, dtype)         a tensor, from anything that Keras accepts
    read(variable)              its value, not cast
    static_value(x)             the number in `x`, if it is known now
"""

from typing import TYPE_CHECKING

from keras_gumbel._framework import NAME as NAME
from keras_gumbel.backend.masks import mask_of as mask_of
from keras_gumbel.backend.replay import hand_on as hand_on

# Like Keras, import only the framework in use. A test checks that each has
# the names above.
if TYPE_CHECKING or NAME == "tensorflow":
    from keras_gumbel.backend.tensorflow import *  # noqa: F403
elif NAME == "jax":
    from keras_gumbel.backend.jax import *  # noqa: F403
else:
    from keras_gumbel.backend.torch import *  # noqa: F403
