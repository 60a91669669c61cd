"""What `keras.ops` cannot say: random bits, gradient rules, compilation.

The whole contract between this package and a framework. Everything else is
written with `keras.ops`, so another framework is one more folder like
`tensorflow`:

    next_key(seed)              the key of one draw, to be given to a program
    is_key(seed)                whether it is a key of the framework's own
    integer_seed(seed)          an integer in place of such a key
    stream(seed)                a generator that begins with any integer seed
    state_of(generator)         where it is, as files have it
    set_apart(generator, name)  other draws than those of another name
    is_set_apart(generator)     whether it is
    shares_objects()            whether Keras reads or writes a file
    check_can_change(variable)  an error where a change could not be kept
    fetch_and_add(variable, amount)  a count, which no two callers read alike
    remat(function)             run again by its gradient, with the same draws
    replica()                   the number of this replica, and how many are
    sum_over_replicas(x)        of what each replica has, as `x`
    value_once(variable)        what it holds, in a block of `remat` once
    hand_on(take, value)        `take(value)`, in a block of `remat` once
    random_bits(shape, key, start)   64 for each number, from one place on
    unchecked(function)         may make infinity and NaN, whoever looks for it
    cached(function)            as of `functools`, where nothing is traced
    compiled(function)          one program, in eager and graph mode alike
    with_gradient(...)          a forward pass with a backward pass of its own
    once_only(backward, what)   compiled; an error to differentiate it again
    traced_gradient(function)        x -> d sum(function(x)) / dx
    unfused_unless_zero(...)    computed once, however many read it
    is_known_zero(x)            whether all of it is, and this is known now
    materialize(x)              not to be simplified across
    sum_over(count, term, ...)  a sum that holds one term at a time
    straight_through(hard, soft)     value of `hard`, gradient to `soft`
    bitcast(x, dtype)           the same bits
    unsigned(word, dtype)       an int32 read without a sign, as a float
    argmax(x, axis)             the first largest, by one operation everywhere
    max(x, axis, ...)           of `keras.ops`, of no rows too
    min(x, axis, ...)           and so this
    matmul(x, y)                in float64 where `x` is
    maximum(x, y)               and so this
    minimum(x, y)               and so this
    top_k(x, k)                 the largest of each row, of ties the first
    log_gamma(x)                log((x - 1)!)
    sum_to_shape(x, shape)      the transpose of broadcasting
    programs_are_sized()        whether a call's sizes are compiled for
    fuses()                     whether formulas of each element are one loop
    native(function)            by the framework's own kernel, if it has one
    enlarged(x, shape, filler)  more entries, at the end of each axis
    corner(x, shape)            and fewer
    run_of_rows(x, start, size) some rows of a matrix, one after the other
    with_rows(x, start, rows)   some replaced, one after the other
    checkpoint_with(layer, name, variable)   in the framework's checkpoints
    trace(function, *args)      its errors, where there are no values yet
    input_signature(model)      specs of what a model is called with
    layout(x)                   dense, ragged or sparse
    with_at_least(x, size, axis, message)    an error when the program runs
    is_in_inner_graph()         whether a layer's loop or branch is being traced
    has_value(variable)         whether it can be read
    has_numbers(x)              whether it is more than a shape
    value_now(variable)         what it holds while a graph is traced
    mask_of(x)                  what Keras has a tensor carry
    widest_float()              the dtype that sums are exact in
    trains_by_values()          whether Keras trains by values, not variables
    export_format()             what the call is traced for by an exporter
    exports_xor()               whether the file has XOR of integers
    refuse_export(reason)       an error that exporters show
    rank(x)                     of a tensor, None where it is not known
    static_shape(x)             of a tensor or shape, None for what is not known
    to_tensor(x, dtype)         a tensor, from whatever Keras takes for one
    read(variable)              what is behind one of Keras's, not cast
    static_value(x)             the number in `x` where it is known now
"""

from typing import TYPE_CHECKING

from keras_gumbel._framework import NAME as NAME
from keras_gumbel.backend.masks import mask_of as mask_of
from keras_gumbel.backend.replay import hand_on as hand_on

# As Keras does it: a framework that is not asked for is not imported. All
# have the names above, to which a test holds them.
if TYPE_CHECKING or NAME == "tensorflow":
    from keras_gumbel.backend.tensorflow import *  # noqa: F403
elif NAME == "jax":
    from keras_gumbel.backend.jax import *  # noqa: F403
else:
    from keras_gumbel.backend.torch import *  # noqa: F403
