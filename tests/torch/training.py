"""A rank of two that train one model, in a process that may kill itself.

Imported by the process from which ranks are forked, so it must not begin to
use torch's threads: only `train` does.
"""

import os
import pathlib
import signal
from datetime import timedelta

import torch
import torch.distributed as dist

import keras_gumbel as kg

STEPS = 5


class Net(torch.nn.Module):
    """A layer of torch's, and a choice of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(6, 9)
        self.choice = kg.GumbelSoftmax(0.5, hard=True, seed=1, name="choice")
        self.choice.build((None, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.choice(self.linear(x), training=self.training)


def train(rank: int, folder: str, killed_at: int | None = None) -> None:
    """Go on from `folder/state.pt`, which rank 0 writes after each step.

    Args:
        rank: 0 or 1.
        folder: Of this training, where each sample is written too.
        killed_at: Kill rank 1 before this step; None not to.
    """
    store = f"file://{folder}/store-{killed_at}"
    soon = timedelta(seconds=120)
    dist.init_process_group("gloo", store, soon, 2, rank)
    torch.manual_seed(0)
    net = Net()
    trained = [x for x in net.parameters() if x.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.05, momentum=0.9)
    path = pathlib.Path(folder, "state.pt")
    first = 0
    if path.exists():
        kept = torch.load(path)
        net.load_state_dict(kept["net"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    model = torch.nn.parallel.DistributedDataParallel(net)
    for step in range(first, STEPS):
        if rank == 1 and step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        y = model(x)
        (y * torch.arange(9.0)).sum().backward()
        optimizer.step()
        # Rank 1's own noise is to be seen, not its weights alone.
        torch.save(y.detach(), f"{folder}/sample-{rank}-{step}.pt")
        if rank == 0:
            kept = {
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save(kept, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        dist.barrier()
    dist.destroy_process_group()
