"""Reading the arguments and defaults that a docstring promises."""

import inspect
import re
from typing import Any

_ENTRY = re.compile(r"^    (\**\w+): ", re.MULTILINE)
_DEFAULT = re.compile(r"Defaults\s+to\s+`([^`]*)`")


def documented_arguments(thing: Any) -> dict[str, str]:
    """The text of each entry of the `Args:` section, by name."""
    text = inspect.getdoc(thing) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.M | re.S)
    if section is None:
        return {}
    names_and_texts = _ENTRY.split(section[1])[1:]
    return dict(zip(names_and_texts[::2], names_and_texts[1::2], strict=True))


def documented_defaults(thing: Any) -> dict[str, str]:
    """The default that each entry of `Args:` states, as `actual_defaults`."""
    return {
        name: _source(eval(match[1]))  # `2 / 3` stays what it is in a text
        for name, text in documented_arguments(thing).items()
        if (match := _DEFAULT.search(text))
    }


def actual_defaults(thing: Any) -> dict[str, str]:
    """The defaults of the signature, as source text in double quotes."""
    return {
        name: _source(parameter.default)
        for name, parameter in inspect.signature(thing).parameters.items()
        if parameter.default is not parameter.empty
    }


def _source(value: Any) -> str:
    return repr(value).replace("'", '"')
