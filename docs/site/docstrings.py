"""The package's docstrings, in the sections that the reference can show."""

import re

import griffe

SECTION = r"^{}:\n(.*?)(?=^\w[\w ]*:$|\Z)"
CALL = re.compile(SECTION.format("Call arguments"), re.M | re.S)
EXAMPLE = re.compile(SECTION.format("Example"), re.M | re.S)
RETURNS = re.compile(r"^Returns:\n    ", re.M)


def _call(match):
    """A section of its own, in which a temperature is not a schedule."""
    text = match[1].replace("temperature:", "temperature (float | Tensor):")
    return f"Other Parameters: Call arguments\n{text}"


def _example(match):
    """A session, indented: then it is shown as code."""
    lines = match[1].strip().splitlines()
    return "\n".join(["Examples:", *(f"    {line}" for line in lines), "", ""])


class Sections(griffe.Extension):
    """Keras's call arguments, what a layer returns, and sessions."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrite the docstring of an object that was loaded."""
        if obj.docstring is None:
            return
        text = EXAMPLE.sub(_example, CALL.sub(_call, obj.docstring.value))
        if obj.is_class:
            text = RETURNS.sub("Returns:\n    Tensor: ", text)
        obj.docstring.value = text
