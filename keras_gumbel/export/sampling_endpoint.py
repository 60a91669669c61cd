"""A SavedModel with an endpoint that samples."""

import os

import keras

from keras_gumbel._tracing import sampling
from keras_gumbel._typing import Tensor
from keras_gumbel.backend import input_signature
from keras_gumbel.export.exported import sampling_layers


def export_with_sampling(
    model: keras.Model, path: str | os.PathLike[str]
) -> None:
    """Write a SavedModel that infers and, by another endpoint, samples.

        serve(x)   model(x), at inference
        sample(x)  the same, but the sampling layers draw

    `sample` is not training: dropout is off, and batch normalisation uses its
    averages. Each call draws anew, from the stream of each layer, which
    continues from its state in `model`. The file needs only TensorFlow to run;
    two processes that load it draw the same numbers.

    Args:
        model: A `keras.Model` that has been built or called, with one input
            structure and sampling layers of this package at any depth.
        path: The folder to write.

    Raises:
        ValueError: For a model without a sampling layer, or not built yet.
        TypeError: For anything but a model.

    Example:

    >>> import keras, keras_gumbel as kg, tempfile
    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), kg.GumbelSoftmax(hard=True, seed=0)]
    ... )
    >>> folder = tempfile.mkdtemp()
    >>> kg.export.export_with_sampling(model, folder)
    >>> sampler = keras.layers.TFSMLayer(folder, call_endpoint="sample")
    >>> y = sampler(keras.ops.zeros((5, 3)))
    >>> keras.ops.convert_to_numpy(keras.ops.sum(y, axis=1))
    array([1., 1., 1., 1., 1.], dtype=float32)
    """
    sampling_layers(model)
    signature = [input_signature(model)]

    def infer(inputs: Tensor) -> Tensor:
        return model(inputs, training=False)

    def sample(inputs: Tensor) -> Tensor:
        with sampling():
            return model(inputs, training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", infer, signature)
    archive.add_endpoint("sample", sample, signature)
    archive.write_out(str(path), verbose=False)
