"""Tests of the callbacks, one file a class."""
