"""Base of the layers that choose vectors of codebooks by features."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation import (
    check_are_vectors,
    check_choice,
    check_class_mask,
    check_codebook_sizes,
    check_codes_of_groups,
    check_features,
    check_flag,
    check_kind,
    check_known_features,
    check_restart_after,
    dense,
)
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.layers.moving_codes import MovingCodes
from keras_gumbel.ops.codebook import likeliest, look_up
from keras_gumbel.ops.nearest_code import minus_distances


class CodebookLayer(LogitsLayer):
    """Base of the layers with a projection to logits, and codebooks.

    Args:
        num_codes: Positive integer, the codes of each group.
        code_dim: Positive integer, divisible by `num_groups`.
        num_groups: Positive integer.
        kernel_initializer: Initializer of the projection.
        use_bias: Whether the projection has a bias.
        embeddings_initializer: Initializer of the codebooks, as one matrix.
        similarity: `"projection"` or `"distance"`.
        init_from_data: Whether codes begin as vectors of the first batches.
        restart_after: Positive integer, or None.
        **kwargs: Arguments of `LogitsLayer`.
    """

    _input_name = "inputs"

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        num_groups: int,
        *,
        kernel_initializer: Any,
        use_bias: bool,
        embeddings_initializer: Any,
        similarity: str,
        init_from_data: bool,
        restart_after: int | None,
        **kwargs: Any,
    ) -> None:
        check_codebook_sizes(num_codes, code_dim, num_groups)
        check_choice(similarity, "similarity", ("projection", "distance"))
        check_restart_after(restart_after)
        super().__init__(**kwargs)
        self.num_codes = int(num_codes)
        self.code_dim = int(code_dim)
        self.num_groups = int(num_groups)
        self.kernel_initializer = check_kind(
            keras.initializers.get(kernel_initializer),
            "kernel_initializer",
            "initializer",
        )
        self.use_bias = check_flag(use_bias, "use_bias")
        self.similarity = similarity
        self.init_from_data = check_flag(init_from_data, "init_from_data")
        self.restart_after = restart_after and int(restart_after)
        self.embeddings_initializer = check_kind(
            keras.initializers.get(embeddings_initializer),
            "embeddings_initializer",
            "initializer",
        )

    @property
    def _one_axis(self) -> int:
        return -1

    def build(self, inputs_shape: Shape) -> None:
        """Create the projection and the codebooks."""
        check_known_features(inputs_shape)
        features, rows = inputs_shape[-1], self.num_groups * self.num_codes
        self.kernel = self.bias = None
        if self.similarity == "distance":
            check_are_vectors(features, self.code_dim)
        else:
            self.kernel = self.add_weight(
                name="kernel",
                shape=(features, rows),
                initializer=self.kernel_initializer,
                autocast=False,
            )
        if self.kernel is not None and self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(rows,),
                initializer="zeros",
                autocast=False,
            )
        dim = self.code_dim // self.num_groups

        # Start from a matrix, which every initializer supports.
        def codebooks(shape: Shape, dtype: str | None = None) -> Tensor:
            table = self.embeddings_initializer((rows, dim), dtype=dtype)
            return ops.reshape(table, shape)

        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_groups, self.num_codes, dim),
            initializer=codebooks,
            autocast=False,
        )
        self._moving = MovingCodes(
            self,
            init_from_data=self.init_from_data,
            restart_after=self.restart_after,
        )
        # Keras checks every later call against this.
        self.input_spec = keras.InputSpec(min_ndim=1, axes={-1: features})
        self.built = True

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """Return the shape with a vector in place of the features."""
        return *inputs_shape[:-1], self.code_dim

    def logits(
        self, inputs: Tensor, class_mask: Tensor | None = None
    ) -> Tensor:
        """Return the codes' logits, in nats: `(..., num_groups, num_codes)`.

        They are float32 under any policy (float64 for float64 inputs), and
        -inf where the mask forbids. The inputs must be tensors.
        """
        inputs = dense(inputs, "inputs")
        features = self.input_spec.axes[-1] if self.built else None
        check_features(inputs, features)
        if not self.built:
            self.build(tuple(inputs.shape))
        # Keras's own rule ignores float64 on torch.
        is_wide = "float64" in (
            numerics.wide_dtype(inputs),
            self.variable_dtype,
        )
        dtype = "float64" if is_wide else "float32"
        x, lead = ops.cast(inputs, dtype), ops.shape(inputs)[:-1]
        shape = *lead, self.num_groups, self.num_codes
        if self.similarity == "distance":
            x = ops.reshape(x, (*lead, self.num_groups, -1))
            scale = ops.cast(self._moving.sharpness, dtype)
            logits = scale * minus_distances(x, ops.cast(self._tables, dtype))
        else:
            kernel, bias = self._moving.projection(dtype)
            logits = numerics.matmul(x, kernel)
            if bias is not None:
                logits = logits + bias
        logits = ops.reshape(logits, shape)
        if class_mask is None:
            return logits
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
        return numerics.allowed(logits, class_mask)

    def _near(self, logits: Tensor) -> Tensor:
        far = numerics.offset(logits, self.noise_scale, -1)
        return numerics.less(logits, far)

    def encode(
        self, inputs: Tensor, class_mask: Tensor | None = None
    ) -> Tensor:
        """Return the likeliest codes, int32 `(..., num_groups)`.

        There is no noise and no gradient. Ties give the first code; a group
        with no code allowed, or with a logit of NaN, gives -1.
        """
        return likeliest(self.logits(inputs, class_mask))

    def decode(self, codes: Tensor) -> Tensor:
        """Return vectors `(..., code_dim)` of integers `(..., num_groups)`.

        They have the compute dtype and equal, bit for bit, the layer's output
        for these codes at inference by `"argmax"`. A code out of range is an
        error if its value is known, and otherwise gives NaN.
        """
        codes = dense(codes, "codes")
        check_codes_of_groups(
            codes, self.num_groups, self.num_codes, self.built
        )
        return self._joined(look_up(codes, self._tables))

    def _joined(self, vectors: Tensor) -> Tensor:
        """Concatenate the vectors of the groups."""
        shape = *ops.shape(vectors)[:-2], self.code_dim
        return ops.cast(ops.reshape(vectors, shape), self.compute_dtype)

    @property
    def _tables(self) -> Tensor:
        # Stay wide and cast the vectors later: the gradient of tables cast
        # here would be summed in half precision.
        return self._moving.tables()

    def _named_states(self) -> dict[str, keras.Variable]:
        return self._moving.named() if self.built else {}

    def load_own_variables(self, store: Any) -> None:
        """Load the weights; take codes of an older version's file as set."""
        super().load_own_variables(store)
        if self.built and "idle" not in [*store.keys()]:
            self._moving.settle()

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        serialize = keras.initializers.serialize
        config = super().get_config()
        del config["from_logits"]
        return {
            **config,
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "num_groups": self.num_groups,
            "kernel_initializer": serialize(self.kernel_initializer),
            "use_bias": self.use_bias,
            "embeddings_initializer": serialize(self.embeddings_initializer),
            "similarity": self.similarity,
            "init_from_data": self.init_from_data,
            "restart_after": self.restart_after,
        }
