"""The mask of what an expression means: SAM's mask decoder, asked with a box that the expression's words have bent a little."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamMaskDecoderConfig, initialization
from transformers.models.sam.modeling_sam import SamFeedForward, SamMaskDecoder

from foveal.vision import TwoWayTransformer, start_layers

__all__ = ["MaskAdapter", "MaskDecoder", "mask_losses"]

_FOCAL = 20.0
"""Weight of the focal loss beside the dice loss."""


def _two_way(width: int, mlp: int, depth: int = 2, heads: int = 8) -> SamMaskDecoderConfig:
    config = SamMaskDecoderConfig(
        hidden_size=width, mlp_dim=mlp, num_hidden_layers=depth, num_attention_heads=heads, attention_downsample_rate=2, layer_norm_eps=1e-5
    )
    config._attn_implementation = "sdpa"
    return config


class MaskDecoder(SamMaskDecoder):
    """SAM's mask decoder in transformers, for one prompt a row, of which the width `hidden` of all its small networks can be chosen.

    >>> decoder = MaskDecoder(width=16, mlp=16, hidden=8)
    >>> masks, ious = decoder.decide(torch.zeros(3, 16, 4, 4), torch.zeros(1, 16, 4, 4), torch.zeros(3, 2, 16), torch.zeros(1, 16))
    >>> masks.shape, ious.shape
    (torch.Size([3, 1, 16, 16]), torch.Size([3, 1]))
    """

    def __init__(self, width: int = 256, mlp: int = 2048, hidden: int = 256, heads: int = 8) -> None:
        config = _two_way(width, mlp, heads=heads)
        config.iou_head_hidden_dim = hidden
        super().__init__(config)
        self.output_hypernetworks_mlps = nn.ModuleList(SamFeedForward(width, hidden, width // 8, 3) for _ in range(self.num_mask_tokens))

    def decide(
        self,
        maps: Float[Tensor, "rows width height side"],
        places: Float[Tensor, "_ width height side"],
        boxes: Float[Tensor, "rows 2 width"],
        no_mask: Float[Tensor, "1 width"],
        several: bool = False,
    ) -> tuple[Float[Tensor, "rows masks _ _"], Float[Tensor, "rows masks"]]:
        """Logits of masks, four times as fine as the maps, and their expected IoU: one for each row, or with `several` the three of SAM.

        `maps` are SAM's features of each row's picture, `places` the code of their grid, `boxes` the two tokens of a box, `no_mask` SAM's
        embedding for that no mask was given.
        """
        dense = no_mask[..., None, None].expand_as(maps[:1])
        found = self(maps, places.expand(len(maps), -1, -1, -1), boxes[:, None], dense, multimask_output=several)
        return found[0][:, 0], found[1][:, 0]


class MaskAdapter(nn.Module):
    """What the words change of the two tokens of a box: two learned queries look at the visual tokens and at the states of all words.

    A gate that begins at zero leaves SAM as it is at first. `visual_dim` and `text_dim` are the widths of both inputs.

    >>> adapter = MaskAdapter(visual_dim=6, text_dim=5, width=16, mlp=16)
    >>> adapter(torch.zeros(3, 4, 6), torch.zeros(3, 7, 5), torch.ones(3, 2, 16)).eq(1).all()
    tensor(True)
    """

    def __init__(self, visual_dim: int, text_dim: int, width: int = 256, mlp: int = 2048, heads: int = 8) -> None:
        super().__init__()
        self.visual_norm, self.text_norm = (nn.LayerNorm(dim, eps=1e-6) for dim in (visual_dim, text_dim))
        self.visual_proj, self.text_proj = (nn.Linear(dim, width) for dim in (visual_dim, text_dim))
        self.queries, self.gate = (nn.Parameter(torch.empty(2, width)) for _ in range(2))
        self.transformer = TwoWayTransformer(width, 2, heads, mlp)
        self.reset()

    def reset(self) -> None:
        """Queries N(0, 1), the gate shut, linear maps as flax starts them."""
        start_layers(self)
        initialization.normal_(self.queries)
        initialization.zeros_(self.gate)

    def forward(
        self,
        visual: Float[Tensor, "rows slots _"],
        words: Float[Tensor, "rows length _"],
        boxes: Float[Tensor, "rows 2 width"],
        said: Bool[Tensor, "rows length"] | None = None,
    ) -> Float[Tensor, "rows 2 width"]:
        """The tokens of each row's box, changed. Words that are not `said` are not looked at; without it all are, padding too, as in the release."""
        keys = torch.cat([self.visual_proj(self.visual_norm(visual)), self.text_proj(self.text_norm(words))], 1)
        seen = None if said is None else functional.pad(said, (visual.shape[1], 0), value=True)
        found, _ = self.transformer(self.queries.expand(len(keys), -1, -1), keys, seen=seen)
        return boxes + found * self.gate.tanh()


def mask_losses(
    logits: Float[Tensor, "rows masks _ _"],
    ious: Float[Tensor, "rows masks"],
    truth: Bool[Tensor, "rows height width"],
    shown: Float[Tensor, "rows height width"],
) -> Mapping[str, Float[Tensor, ""]]:
    """SAM's losses, `focal` and `dice` of each row's best mask and `iou` of all; and `loss` = 20 focal + dice + iou. Means over rows.

    `truth` lies in the padded picture, `shown` is 1 on its unpadded part, over which alone the focal loss (alpha 0.5, gamma 2) is a mean.
    """
    if not len(logits):
        return dict.fromkeys(("focal", "dice", "iou", "loss"), logits.sum() + ious.sum())
    told = functional.interpolate(logits.float(), truth.shape[-2:], mode="bilinear", align_corners=False)
    wanted = truth[:, None].float().expand_as(told)
    chance = told.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(told, wanted, reduction="none")
    missed = (wanted - chance).abs()
    focal = (0.5 * missed.square() * entropy * shown[:, None]).sum((-2, -1)) / shown.sum((-2, -1))[:, None].clamp(min=1)
    dice = 1 - (2 * (chance * wanted).sum((-2, -1)) + 1) / (chance.sum((-2, -1)) + wanted.sum((-2, -1)) + 1)
    said = told > 0
    both, either = (said & truth[:, None]).sum((-2, -1)), (said | truth[:, None]).sum((-2, -1))
    off = (ious.float() - both / either.clamp(min=1)).square()
    best = (_FOCAL * focal + dice).argmin(-1, keepdim=True)
    found = {"focal": focal.gather(-1, best).mean(), "dice": dice.gather(-1, best).mean(), "iou": off.mean()}
    return found | {"loss": _FOCAL * found["focal"] + found["dice"] + found["iou"]}
