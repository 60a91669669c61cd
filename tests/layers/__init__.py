"""Tests of the layers, one file a class."""
