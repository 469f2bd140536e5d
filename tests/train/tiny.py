"""A body of three layers that learns from numbers: the smallest thing that a recipe can train."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from foveal.train import Recipe, train

__all__ = ["RECIPE", "Body", "Numbers", "collate", "trained", "weights"]

RECIPE = Recipe(name="tiny", learn={"eye": 1e-2, "tongue": 1e-3}, steps=6, batch=4, workers=0, save_every=3, options={"disable_tqdm": True})


class Numbers(Dataset):
    """Forty rows of three numbers."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Tensor:
        return torch.randn(3, generator=torch.Generator().manual_seed(index))


class Body(nn.Module):
    """Its dropout makes the result depend on the state of the random numbers too."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.eye, self.tongue, self.ear = nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, numbers: Tensor) -> dict[str, Tensor]:
        seen = self.dropout(self.eye(numbers))
        said = (self.tongue(seen) + self.ear(seen)).square().mean()
        return {"loss": said, "size": seen.abs().mean()}


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    return {"numbers": torch.stack(rows)}


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def trained(folder: Path, recipe: Recipe = RECIPE) -> dict[str, Tensor]:
    """The weights after the recipe, gone on with from what lies in the folder."""
    body = Body()
    train(recipe, body, Numbers(), collate, folder)
    return weights(body)
