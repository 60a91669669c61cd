"""Files that were not written by Keras, or not by it alone."""
