"""What the framework's own checkpoints hold of a layer."""

from keras_gumbel.backend import checkpoint_with as checkpoint_with
