"""TensorFlow: the only folder of the package that imports it."""

from keras_gumbel.backend.tensorflow.gradients import (
    materialize as materialize,
    once_only as once_only,
    straight_through as straight_through,
    sum_over as sum_over,
    traced_gradient as traced_gradient,
    with_gradient as with_gradient,
)
from keras_gumbel.backend.tensorflow.programs import (
    compiled as compiled,
    unchecked as unchecked,
    unfused_unless_zero as unfused_unless_zero,
)
from keras_gumbel.backend.tensorflow.rematerialization import remat as remat
from keras_gumbel.backend.tensorflow.streams import (
    fetch_and_add as fetch_and_add,
    is_set_apart as is_set_apart,
    next_key as next_key,
    random_bits as random_bits,
    set_apart as set_apart,
)
from keras_gumbel.backend.tensorflow.tensors import (
    argmax as argmax,
    bitcast as bitcast,
    checkpoint_with as checkpoint_with,
    corner as corner,
    enlarged as enlarged,
    layout as layout,
    log_gamma as log_gamma,
    read as read,
    shares_objects as shares_objects,
    static_value as static_value,
    sum_to_shape as sum_to_shape,
    to_tensor as to_tensor,
    with_at_least as with_at_least,
    with_rows as with_rows,
)
from keras_gumbel.backend.tensorflow.tracing import (
    export_format as export_format,
    input_signature as input_signature,
    is_eager as is_eager,
    is_in_inner_graph as is_in_inner_graph,
    refuse_export as refuse_export,
    trace as trace,
    value_now as value_now,
)
