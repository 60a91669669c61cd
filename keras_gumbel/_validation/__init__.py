"""Every check of an argument, and the text of its error, in one place.

Each function names the argument, says what was expected and what came.
Values inside a traced program cannot be read: those are left to the program,
where a temperature that is not positive gives NaN.
"""

from keras_gumbel._validation.matrices import (
    check_matrices as check_matrices,
    check_square as check_square,
    matrix_arguments as matrix_arguments,
)
from keras_gumbel._validation.objectives import (
    check_number_of_states as check_number_of_states,
    check_objective_batch as check_objective_batch,
    check_objective_values as check_objective_values,
    check_possible as check_possible,
    check_reference as check_reference,
    check_samples as check_samples,
    check_values as check_values,
)
from keras_gumbel._validation.scalars import (
    check_choice as check_choice,
    check_integer as check_integer,
    check_noise_dtype as check_noise_dtype,
    check_not_negative as check_not_negative,
    check_positive as check_positive,
    check_seed as check_seed,
    check_sequence as check_sequence,
)
from keras_gumbel._validation.tensors import (
    canonical_axis as canonical_axis,
    categorical_arguments as categorical_arguments,
    check_class_mask as check_class_mask,
    check_initial_temperature as check_initial_temperature,
    check_logits as check_logits,
    check_table as check_table,
    check_temperature as check_temperature,
    check_temperature_shape as check_temperature_shape,
)
