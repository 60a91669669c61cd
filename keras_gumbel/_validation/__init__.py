"""Every check of an argument, and the text of its error, in one place.

Each error names the argument, and says what was expected and what came.
Checks cannot read values inside a traced program. There, the program itself
turns a temperature that is not positive into NaN.
"""

from keras_gumbel._validation.arguments import (
    Arguments as Arguments,
    as_it_is as as_it_is,
    is_learned as is_learned,
)
from keras_gumbel._validation.axes import (
    check_axes_fit as check_axes_fit,
    check_axis as check_axis,
    check_one_a_distribution as check_one_a_distribution,
)
from keras_gumbel._validation.codebooks import (
    check_are_vectors as check_are_vectors,
    check_codebook as check_codebook,
    check_codebook_sizes as check_codebook_sizes,
    check_codes_of_groups as check_codes_of_groups,
    check_diversity_weight as check_diversity_weight,
    check_divides as check_divides,
    check_features as check_features,
    check_fraction as check_fraction,
    check_integers as check_integers,
    check_is_binary as check_is_binary,
    check_is_noisy_layer as check_is_noisy_layer,
    check_is_outside_of_loops as check_is_outside_of_loops,
    check_kl_weight as check_kl_weight,
    check_known_features as check_known_features,
    check_levels as check_levels,
    check_mask as check_mask,
    check_restart_after as check_restart_after,
    check_scalars as check_scalars,
    check_stage_sizes as check_stage_sizes,
    check_temperature_of_vectors as check_temperature_of_vectors,
    check_vectors as check_vectors,
    check_weight_is_live as check_weight_is_live,
)
from keras_gumbel._validation.codes import (
    check_codes as check_codes,
    check_codes_are_known as check_codes_are_known,
    check_has_no_predictions as check_has_no_predictions,
    check_sample_weight as check_sample_weight,
)
from keras_gumbel._validation.configs import (
    check_are_values as check_are_values,
    check_config as check_config,
    check_flag as check_flag,
    check_function as check_function,
    check_is_whole as check_is_whole,
    check_kind as check_kind,
    check_model as check_model,
    check_stored as check_stored,
    check_stored_shape as check_stored_shape,
    check_stream as check_stream,
    deserialized as deserialized,
)
from keras_gumbel._validation.distributions import (
    check_categories_are_last as check_categories_are_last,
    check_has_law as check_has_law,
    check_is_noisy as check_is_noisy,
    check_prior_logits as check_prior_logits,
    check_prior_of_gates as check_prior_of_gates,
)
from keras_gumbel._validation.exports import (
    check_can_be_repeated as check_can_be_repeated,
    check_can_be_summed as check_can_be_summed,
    check_draws as check_draws,
    check_is_not_repeated as check_is_not_repeated,
    check_name_is_free as check_name_is_free,
    check_seed_words as check_seed_words,
)
from keras_gumbel._validation.gates import gate_arguments as gate_arguments
from keras_gumbel._validation.hard_concrete import (
    check_gated as check_gated,
    check_log_alpha as check_log_alpha,
    check_stretch as check_stretch,
    gate_axes as gate_axes,
    hard_concrete_arguments as hard_concrete_arguments,
)
from keras_gumbel._validation.keras_masks import (
    check_keras_mask as check_keras_mask,
)
from keras_gumbel._validation.live import (
    check_backward_temperature as check_backward_temperature,
    check_can_be_saved as check_can_be_saved,
    check_has_no_schedule as check_has_no_schedule,
    check_live_number as check_live_number,
    check_no_penalty as check_no_penalty,
    check_noise_scale as check_noise_scale,
    check_not_built as check_not_built,
    is_schedule as is_schedule,
    live_value as live_value,
)
from keras_gumbel._validation.matrices import (
    check_matrices as check_matrices,
    check_matrix_shape as check_matrix_shape,
    is_wide as is_wide,
    matrix_arguments as matrix_arguments,
)
from keras_gumbel._validation.models import (
    check_batches as check_batches,
    check_can_take as check_can_take,
    check_is_compiled as check_is_compiled,
    check_monitor as check_monitor,
    layers_inside as layers_inside,
    layers_with_temperature as layers_with_temperature,
)
from keras_gumbel._validation.objectives import (
    check_drawn_classes as check_drawn_classes,
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
    check_num_samples as check_num_samples,
    check_positive as check_positive,
    check_seed as check_seed,
    check_sequence as check_sequence,
)
from keras_gumbel._validation.subsets import (
    check_enough_allowed as check_enough_allowed,
    check_k as check_k,
    check_k_fits as check_k_fits,
    check_sizes as check_sizes,
    sizes_of_rows as sizes_of_rows,
    too_few_for as too_few_for,
)
from keras_gumbel._validation.tensors import (
    canonical_axis as canonical_axis,
    categorical_arguments as categorical_arguments,
    check_can_follow as check_can_follow,
    check_class_mask as check_class_mask,
    check_dense as check_dense,
    check_index_is_exact as check_index_is_exact,
    check_initial_temperature as check_initial_temperature,
    check_logits as check_logits,
    check_table as check_table,
    check_temperature as check_temperature,
    check_temperature_shape as check_temperature_shape,
    dense as dense,
)
