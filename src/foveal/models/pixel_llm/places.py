"""A place for every word: points from a word's state, which words are to have one, boxes from points, and what training lowers."""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from foveal.vision import start_layers

__all__ = ["LocationHead", "boxes_of_points", "grid_in_boxes", "place_loss", "placed_tokens", "points_in_px", "scores_of_places"]

_SPREAD = 0.05
"""How far from its place a word may lie and still be called right by its score, in fractions of the picture."""


class LocationHead(nn.Module):
    """Where each word is: `points` points in fractions of the unpadded picture, from the state of the token that *reads* the word.

    A norm and `depth` linear layers of width `hidden` with GELU between. The released head gives two more numbers for each point that were never
    trained; here they are the logarithms of how far off x and y are (the scales of two Laplace distributions), where `place_loss` trains them.

    >>> points, spread = LocationHead(8, hidden=4)(torch.zeros(3, 5, 8))
    >>> points.shape, spread.shape
    (torch.Size([3, 5, 2, 2]), torch.Size([3, 5, 2, 2]))
    """

    def __init__(self, dim: int, hidden: int = 512, depth: int = 4, points: int = 2) -> None:
        super().__init__()
        self.points = points
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        widths = [dim, *[hidden] * (depth - 1), 4 * points]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.reset()

    def reset(self) -> None:
        """Linear maps as flax starts them, so that words lie all over the picture, the middle of it on average."""
        start_layers(self)

    def forward(self, features: Float[Tensor, "*words dim"]) -> tuple[Float[Tensor, "*words points 2"], Float[Tensor, "*words points 2"]]:
        """Points, x before y, not clipped, and the logarithm of the spread of each coordinate; two points are the corners of a word's box."""
        hidden = self.norm(features)
        for layer in self.layers[:-1]:
            hidden = functional.gelu(layer(hidden))
        found = self.layers[-1](hidden).unflatten(-1, (self.points, 4))
        return (found[..., :2] + 1) / 2, found[..., 2:]


def scores_of_places(spread: Float[Tensor, "*words points 2"], within: float = _SPREAD) -> Float[Tensor, " *words"]:
    """The chance that a word's place is right: that its points lie, on average over them, `within` so much of the true ones in x and in y.

    `spread` are the logarithms that a `LocationHead` gives. How well such chances hold is measured by the benchmark (calibration).

    >>> scores_of_places(torch.full((1, 2, 2), -9.0)) > 0.99
    tensor([True])
    """
    missed = (-within / spread.float().exp()).exp()
    return (1 - missed).prod(-1).mean(-1)


def placed_tokens(tokens: Int[Tensor, "*rows length"], begin: int, end: int, rule: str, pad: int = 0) -> Bool[Tensor, "*rows length"]:
    """Which tokens have a place, by a rule of the release: a comma list of what is left out, of `pad`, `begin`, `end`, `end-1` (the last token
    before the end) and `text` (any other token); a `^` before a name leaves out all that is not that.

    Narratives use "begin,end,pad", referring "^end-1". ValueError for a name that is none of these.

    >>> placed_tokens(torch.tensor([2, 7, 8, 3, 0]), begin=2, end=3, rule="^end-1")
    tensor([False, False,  True, False, False])
    """
    following = functional.pad(tokens[..., 1:], (0, 1), value=pad)
    kinds = {"pad": tokens == pad, "begin": tokens == begin, "end": tokens == end, "end-1": (following == end) & (tokens != end)}
    kinds["text"] = ~(kinds["pad"] | kinds["begin"] | kinds["end"])
    kept = torch.ones_like(tokens, dtype=torch.bool)
    for part in filter(None, rule.split(",")):
        name = part.removeprefix("^")
        if name not in kinds:
            raise ValueError(f"no tokens are called {name!r}; a rule names {', '.join(kinds)}")
        kept &= kinds[name] if part.startswith("^") else ~kinds[name]
    return kept


def points_in_px(points: Float[Tensor, "images *words 2"], sides: Float[Tensor, "images 2"]) -> Float[Tensor, "images *words 2"]:
    """Fractions of pictures as pixels of their network inputs; `sides` are (height, width) of each unpadded picture there.

    >>> points_in_px(torch.tensor([[[0.5, 1.0]]]), torch.tensor([[100.0, 200.0]]))
    tensor([[[100., 100.]]])
    """
    return points * sides.flip(-1).view(len(points), *[1] * (points.ndim - 2), 2)


def boxes_of_points(
    points: Float[Tensor, "*rows length points 2"], valid: Bool[Tensor, "*rows length"], per_side: int = 0
) -> Float[Tensor, "*rows 4"]:
    """The box (x0, y0, x1, y1) around all points of the `valid` tokens of each row; points of others cannot win.

    A row without a valid token has no box: it gets one whose sides are the wrong way round, as in the release. Where points stand for the middles
    of a grid of `per_side` cells a side (the release's unused variant), the box is wider by half a cell. No gradient flows.

    >>> boxes_of_points(torch.tensor([[[0.3, 0.1], [0.2, 0.4]], [[0.9, 0.9], [0.0, 0.0]]]), torch.tensor([True, False]))
    tensor([0.2000, 0.1000, 0.3000, 0.4000])
    """
    points = points.detach()
    off = ~valid[..., None, None]
    least = points.masked_fill(off, float("inf")).amin((-3, -2))
    most = points.masked_fill(off, float("-inf")).amax((-3, -2))
    none = ~valid.any(-1, keepdim=True)
    least, most = torch.where(none, points.amax((-3, -2)) + 1, least), torch.where(none, points.amin((-3, -2)) - 1, most)
    if per_side > 1:
        around = (most - least) / (per_side - 1) / 2
        least, most = least - around, most + around
    return torch.cat([least, most], -1)


def grid_in_boxes(
    boxes: Float[Tensor, "*boxes 4"], per_side: int = -1, border: bool = False, inside: bool = True
) -> Float[Tensor, "*boxes points 2"]:
    """The points that stand for a box in training: its two corners (`per_side` -1), or a grid, row by row, whose points are the middles of cells
    (`inside`) or reach the sides; of the whole, or of its `border` alone (top, right, bottom, left).

    >>> grid_in_boxes(torch.tensor([0.0, 0.0, 4.0, 2.0]), 2)[0]
    tensor([1.0000, 0.5000])
    """
    corner, size = boxes[..., None, :2], boxes[..., None, 2:] - boxes[..., None, :2]
    if per_side < 0:
        steps = boxes.new_tensor([[0.0, 0.0], [1.0, 1.0]])
    else:
        line = torch.arange(per_side, device=boxes.device, dtype=boxes.dtype)
        line = (line + 0.5) / per_side if inside else line / max(1, per_side - 1)
        steps = torch.stack([line.repeat(per_side), line.repeat_interleave(per_side)], -1)
        if border and per_side > 2:
            steps = steps[_border(per_side)]
    return corner + steps * size


def _border(side: int) -> list[int]:
    last = side * (side - 1)
    right = [row * side + side - 1 for row in range(1, side - 1)]
    return [*range(side), *right, *range(last + 1, side * side), *(row * side for row in range(1, side))]


def place_loss(
    points: Float[Tensor, "*words points 2"],
    targets: Float[Tensor, "*words points 2"],
    valid: Bool[Tensor, " *words"],
    spread: Float[Tensor, "*words points 2"] | None = None,
    *,
    squared: bool = False,
    zeros: bool = False,
) -> Float[Tensor, ""]:
    """Mean distance, by coordinate, of the points of the `valid` words from their targets; 0 with a gradient where there is none.

    Targets that are all zero say that a word has no place, and do not count (the release's "l1_nonzero") unless `zeros` count too. Absolute
    distances, or with `squared` their squares. With `spread` (logarithms of Laplace scales) it is the negative log-likelihood instead, which also
    teaches how sure a place is.
    """
    kept = valid if zeros else valid & (targets != 0).any(-1).any(-1)
    away = (points - targets).float()
    cost = away.square() if squared else away.abs()
    if spread is not None:
        cost = cost * (-spread.float()).exp() + spread.float()
    return (cost.mean((-2, -1)) * kept).sum() / kept.sum().clamp(min=1)
