"""Places of the largest entries, of equal ones the first."""

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.tensors import has_numbers
from keras_gumbel.backend.torch.tracing import export_format


def argmax(x: Tensor, axis: int) -> Tensor:
    """Return the place of the first largest entry, int32."""
    return torch.argmax(x, axis).to(torch.int32)


def argsort(x: Tensor, axis: int) -> Tensor:
    """Return the order of the entries, the first of equal ones first."""
    if export_format() == "onnx":
        # There `TopK` takes the first of equal ones, and no sort is stable.
        return torch.topk(x, x.shape[axis], axis, largest=False).indices
    return torch.argsort(x, dim=axis, stable=True)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` largest per row, the first on ties, and their places.

    `torch.topk` does not say which of equal entries it takes.
    """
    if not has_numbers(x):
        # A size that stands in for another may be too small.
        values = x.new_empty(x.shape[0], k)
        return values, torch.empty_like(values, dtype=torch.int64)
    if export_format() == "onnx":
        # There `TopK` takes the first of equal ones.
        values, place = torch.topk(x, k, 1)
        return values, place
    least = torch.topk(x, k, 1).values[:, -1:]
    more, equal = x > least, x == least
    left = k - more.sum(1, keepdim=True)
    hot = more | (equal & (equal.cumsum(1) <= left))
    number = torch.arange(x.shape[1], device=x.device)
    place = torch.where(hot, number, x.shape[1])
    place = torch.topk(place, k, 1, largest=False).values
    values = torch.gather(x, 1, place)
    values, order = torch.sort(values, dim=1, descending=True, stable=True)
    return values, torch.gather(place, 1, order)
