"""Models for where Keras is not."""
