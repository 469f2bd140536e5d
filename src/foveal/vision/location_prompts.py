"""Places as prompts (SAM's prompt encoder, arXiv 2304.02643, as PixelLLM asks it), and the visual tokens that an image has for each prompt."""

from collections.abc import Iterator
from math import pi

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import initialization

from foveal.vision.starting import lecun_normal_, start_layers
from foveal.vision.two_way import TwoWayTransformer

__all__ = ["LocationPrompts", "PromptExtractor", "box_corners", "choose_points"]

_PROMPTS_AT_ONCE = 8
"""In inference a processor's core works on as many prompts at a time: what each makes of the map then still lies in its cache."""


def box_corners(boxes_px: Float[Tensor, "prompts 4"]) -> tuple[Float[Tensor, "prompts 5 2"], Int[Tensor, "prompts 5"]]:
    """Boxes as points with labels: the four corners, row by row, and one point that is none.

    >>> points, labels = box_corners(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    >>> points[0].tolist(), labels[0].tolist()
    ([[1.0, 2.0], [3.0, 2.0], [1.0, 4.0], [3.0, 4.0], [0.0, 0.0]], [1, 1, 1, 1, -1])
    """
    corners = boxes_px[:, [0, 1, 2, 1, 0, 3, 2, 3]].unflatten(1, (4, 2))
    points = torch.cat([corners, corners.new_zeros(len(corners), 1, 2)], dim=1)
    labels = torch.tensor([1, 1, 1, 1, -1], device=boxes_px.device)
    return points, labels.expand(len(points), -1)


def choose_points(
    points_px: Float[Tensor, "prompts most 2"], labels: Int[Tensor, "prompts most"], count: int = 4
) -> tuple[Float[Tensor, "prompts {count}+1 2"], Int[Tensor, "prompts {count}+1"]]:
    """Of any number of points, or of a trace, `count` for each prompt and one that is none.

    A prompt's own points stand before its padding, which has the label -1. Of more than `count`, evenly many are left out between those
    taken, and the first and the last are taken: of a trace with even times, equal times.

    >>> trace = torch.arange(7.0)[None, :, None].expand(-1, -1, 2)
    >>> points, labels = choose_points(trace, torch.ones(1, 7, dtype=torch.long))
    >>> points[0, :, 0].tolist(), labels[0].tolist()
    ([0.0, 2.0, 4.0, 6.0, 0.0], [1, 1, 1, 1, -1])
    """
    own = (labels != -1).sum(1, keepdim=True)
    even = torch.arange(count, device=labels.device).expand(len(labels), -1)
    taken = torch.where(own > count, (even * (own - 1) / max(1, count - 1)).round().long(), even)
    missing = taken >= own
    taken = taken.masked_fill(missing, 0)
    points = points_px.gather(1, taken[..., None].expand(-1, -1, 2)).masked_fill(missing[..., None], 0)
    labels = labels.gather(1, taken).masked_fill(missing, -1)
    return nn.functional.pad(points, (0, 0, 0, 1)), nn.functional.pad(labels, (0, 1), value=-1)


class LocationPrompts(nn.Module):
    """Boxes, points and traces as the same number of tokens each, in one batch; and the codes of an image's own places.

    A place (x, y) in fractions of a side has the code [sin u, cos u] of u = 2 pi (2 (x, y) - 1) G, with fixed random frequencies G. A token is
    the code of a point and what the point is: a positive or a negative one, or a box's first or last corner; a point that is none has a token
    of its own. Points and boxes come in pixels of the network's input, of which `size` is (width, height); a pixel's code is that of its
    centre, so 0.5 is added before the division.

    >>> prompts = LocationPrompts(8)
    >>> boxes = torch.tensor([[0.0, 0.0, 384.0, 288.0], [20.0, 30.0, 50.0, 90.0]])
    >>> prompts(boxes, size=(384, 384)).shape, prompts.grid(27, 27).shape
    (torch.Size([2, 5, 8]), torch.Size([27, 27, 8]))
    """

    frequencies: Tensor

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"location prompts of {dim} channels were asked for; an even number is wanted")
        self.register_buffer("frequencies", torch.empty(2, dim // 2))
        self.negative, self.positive, self.first_corner, self.last_corner = (nn.Parameter(torch.empty(dim)) for _ in range(4))
        self.not_a_point, self.no_mask = (nn.Parameter(torch.empty(dim)) for _ in range(2))
        self.reset()

    def reset(self) -> None:
        """Frequencies and tokens N(0, 1), as in SAM."""
        for tensor in (self.frequencies, *self.parameters()):
            initialization.normal_(tensor)

    def forward(
        self,
        boxes_px: Float[Tensor, "prompts 4"],
        points_px: Float[Tensor, "prompts points 2"] | None = None,
        labels: Int[Tensor, "prompts points"] | None = None,
        *,
        size: tuple[int, int],
        as_box: bool | Bool[Tensor, " prompts"] = True,
    ) -> Float[Tensor, "prompts points dim"]:
        """As many tokens of each prompt as it has points: those of its box where `as_box` and the box has a positive coordinate, else its points'.

        A box makes the tokens of its two corners and, for the rest, the constant that stands for no mask. Without points, a box's own corners
        stand for it (`box_corners`), as in PixelLLM; a prompt that is points or a trace (`choose_points`) has a box of zeros. Raises
        ValueError for points without labels, or fewer than two.
        """
        if (points_px is None) != (labels is None):
            raise ValueError("points were given without labels, or labels without points; both are wanted, or neither")
        if points_px is None or labels is None:
            points_px, labels = box_corners(boxes_px)
        if points_px.shape[1] < 2:
            raise ValueError(f"{points_px.shape[1]} points were given for a prompt; at least two are wanted, as a box has corners")
        boxed = (boxes_px > 0).any(1) & torch.as_tensor(as_box, device=boxes_px.device)
        corners = self.boxes(boxes_px, size)
        rest = self.no_mask.expand(len(corners), points_px.shape[1] - 2, -1)
        return torch.where(boxed[:, None, None], torch.cat([corners, rest], dim=1), self.points(points_px, labels, size))

    def points(
        self, points_px: Float[Tensor, "prompts points 2"], labels: Int[Tensor, "prompts points"], size: tuple[int, int]
    ) -> Float[Tensor, "prompts points dim"]:
        """Tokens of points: label 1 a positive, 0 a negative one, -1 none."""
        kinds = torch.where(labels[..., None] == 1, self.positive, self.negative)
        return torch.where(labels[..., None] == -1, self.not_a_point, self._centred(points_px, size) + kinds)

    def boxes(self, boxes_px: Float[Tensor, "prompts 4"], size: tuple[int, int]) -> Float[Tensor, "prompts 2 dim"]:
        """Tokens of the first and of the last corner of boxes (x0, y0, x1, y1)."""
        return self._centred(boxes_px.unflatten(1, (2, 2)), size) + torch.stack([self.first_corner, self.last_corner])

    def grid(self, rows: int, cols: int) -> Float[Tensor, "{rows} {cols} dim"]:
        """Codes of the centres of an image's cells."""
        y, x = ((torch.arange(count, device=self.frequencies.device) + 0.5) / count for count in (rows, cols))
        return self.code(torch.stack([x.expand(rows, -1), y[:, None].expand(-1, cols)], dim=-1))

    def code(self, places: Float[Tensor, "*places 2"]) -> Float[Tensor, "*places dim"]:
        """Codes of places in fractions of the sides, computed in float32."""
        turns = 2 * pi * ((2 * places.float() - 1) @ self.frequencies.float())
        return torch.cat([turns.sin(), turns.cos()], dim=-1).to(self.no_mask.dtype)

    def _centred(self, places_px: Tensor, size: tuple[int, int]) -> Tensor:
        return self.code((places_px.float() + 0.5) / places_px.new_tensor(size, dtype=torch.float32))


class PromptExtractor(nn.Module):
    """For each prompt of each image, `queries` visual tokens: learned queries go with a prompt's tokens through a two-way transformer over the map.

    All prompts of all images are one batch. An image's map is projected once, whatever the number of its prompts; each query has an output of
    its own. A projection stands where widths differ.

    >>> extractor = PromptExtractor(dim=12, prompt_dim=8, width=16, depth=2, heads=2, mlp=32, queries=4, out=6)
    >>> prompts, image = torch.rand(3, 5, 8), torch.tensor([0, 1, 1])
    >>> extractor(torch.rand(2, 3, 4, 12), torch.rand(3, 4, 8), torch.rand(8), prompts, image).shape
    torch.Size([3, 4, 6])
    """

    def __init__(
        self,
        dim: int,
        *,
        prompt_dim: int = 256,
        width: int = 512,
        depth: int = 6,
        heads: int = 8,
        mlp: int = 2048,
        downsample: int = 2,
        queries: int = 32,
        out: int = 1024,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.map_proj = nn.Linear(dim, width) if dim != width else nn.Identity()
        self.code_proj = nn.Linear(prompt_dim, width) if prompt_dim != width else nn.Identity()
        self.prompt_proj = nn.Linear(prompt_dim, width) if prompt_dim != width else nn.Identity()
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.transformer = TwoWayTransformer(width, depth, heads, mlp, downsample)
        self.out_weight = nn.Parameter(torch.empty(queries, out, width))
        self.out_bias = nn.Parameter(torch.empty(queries, out))
        self.dense_out = nn.Linear(width, out) if dense else None
        self.reset()

    def reset(self) -> None:
        """Queries N(0, 1), linear maps as flax starts them, biases at zero."""
        initialization.normal_(self.queries)
        lecun_normal_(self.out_weight, self.out_weight.shape[2])
        initialization.zeros_(self.out_bias)
        start_layers(self.map_proj, self.code_proj, self.prompt_proj, self.dense_out)

    def forward(
        self,
        maps: Float[Tensor, "images rows cols dim"],
        codes: Float[Tensor, "rows cols prompt_dim"],
        no_mask: Float[Tensor, " prompt_dim"],
        prompts: Float[Tensor, "prompts tokens prompt_dim"],
        image: Int[Tensor, " prompts"],
    ) -> Float[Tensor, "prompts queries out"]:
        """The visual tokens of each prompt. `codes` and `no_mask` are `LocationPrompts`' own; `image` is the number of each prompt's image."""
        tokens = torch.cat([tokens for tokens, _ in self._looked(maps, codes, no_mask, prompts, image)])
        return torch.einsum("pqw,qow->pqo", tokens[:, : len(self.queries)], self.out_weight) + self.out_bias

    def dense(
        self,
        maps: Float[Tensor, "images rows cols dim"],
        codes: Float[Tensor, "rows cols prompt_dim"],
        no_mask: Float[Tensor, " prompt_dim"],
        prompts: Float[Tensor, "prompts tokens prompt_dim"],
        image: Int[Tensor, " prompts"],
    ) -> Float[Tensor, "prompts cells out"]:
        """A token of every cell of the map as each prompt sees it: an alternative that no recipe of the release uses.

        Raises ValueError for an extractor made without.
        """
        if self.dense_out is None:
            raise ValueError("tokens of every cell were asked of an extractor without their output; one made with dense=True is wanted")
        return torch.cat([self.dense_out(cells) for _, cells in self._looked(maps, codes, no_mask, prompts, image)])

    def _looked(self, maps: Tensor, codes: Tensor, no_mask: Tensor, prompts: Tensor, image: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The tokens and the cells of some prompts after the other."""
        keys = self.map_proj(maps.flatten(1, 2)) + self.prompt_proj(no_mask)
        tokens = torch.cat([self.queries.expand(len(prompts), -1, -1), self.prompt_proj(prompts)], dim=1)
        codes = self.code_proj(codes.flatten(0, 1))[None]
        size = max(1, len(prompts)) if torch.is_grad_enabled() or keys.device.type != "cpu" else _PROMPTS_AT_ONCE
        for some, own in zip(tokens.split(size), image.split(size), strict=True):
            yield self.transformer(some, keys, codes, own)
