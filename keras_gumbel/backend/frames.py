"""The call stack, since Keras tells layers little; for every framework."""

import sys
import types
from collections.abc import Iterator, Mapping


def callers() -> Iterator[tuple[str, types.FrameType]]:
    """Yield the modules on the stack and their frames, innermost first."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame
        frame = frame.f_back


def export_format(converters: Mapping[str, str]) -> str | None:
    """Return the format that an exporter up the stack writes, or None.

    It knows Keras's exporters; `converters` names others, by module.
    """
    found = None
    for module, _ in callers():
        folder, _, file = module.rpartition(".")
        if folder == "keras.src.export":
            found = file.removesuffix("_export_archive")
        found = converters.get(module, found)
    return found


def is_in_a_layers(modules: tuple[str, ...]) -> bool:
    """Return whether a layer up the stack calls this through `modules`."""
    inside = False
    for module, frame in callers():
        inside |= module in modules
        is_call = frame.f_code.co_name == "__call__"
        if inside and is_call and module == "keras.src.layers.layer":
            return True
    return False
