"""Names of the release's parameters and ours, both ways, and how the axes of each lie: theirs are flax's, ours PyTorch's."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from foveal.models.shards import Weight

__all__ = ["PARTS", "Axes", "Place", "as_ours", "as_theirs", "grouped", "ours_of", "separated", "theirs_of"]


@dataclass(frozen=True, slots=True)
class Axes:
    """How a parameter of ours comes of one of theirs: some axes turned over (`flips`), all in another `order`, `ones` axes of one left out in front.

    >>> flipped = Axes((2, 3, 0, 1), flips=(0, 1))
    >>> kernel = torch.arange(24.0).view(2, 2, 3, 2)
    >>> flipped.ours(kernel).shape, flipped.theirs(flipped.ours(kernel)).equal(kernel)
    (torch.Size([3, 2, 2, 2]), True)
    """

    order: tuple[int, ...] = ()
    flips: tuple[int, ...] = ()
    ones: int = 0

    def ours(self, theirs: Tensor) -> Tensor:
        """Their numbers as ours lie."""
        moved = theirs.flip(self.flips).permute(self.order) if self.order else theirs
        return moved.reshape(moved.shape[self.ones :])

    def theirs(self, ours: Tensor) -> Tensor:
        """Our numbers as theirs lie."""
        moved = ours.reshape(*[1] * self.ones, *ours.shape)
        back = [self.order.index(axis) for axis in range(len(self.order))]
        return moved.permute(back).flip(self.flips) if self.order else moved


_SAME, _TURNED = Axes(), Axes((1, 0))
_CONV = Axes((3, 2, 0, 1))
_KINDS: Mapping[str, tuple[tuple[str, str, Axes], ...]] = {
    "linear": (("/kernel", ".weight", _TURNED), ("/bias", ".bias", _SAME)),
    "conv": (("/kernel", ".weight", _CONV), ("/bias", ".bias", _SAME)),
    # kernels of transposed convolutions: SAM's are stored rows x columns x out x in, the pyramid's x in x out and the wrong way round
    "grown": (("/kernel", ".weight", _CONV), ("/bias", ".bias", _SAME)),
    "pyramid": (("/kernel", ".weight", Axes((2, 3, 0, 1), flips=(0, 1))), ("/bias", ".bias", _SAME)),
    "norm": (("/scale", ".weight", _SAME), ("/bias", ".bias", _SAME)),
    "table": (("/embedding", ".weight", _SAME),),
    "adapted": (
        ("/kernel", ".weight", _TURNED),
        ("/kernel_left_lora", ".lora_A.default.weight", _TURNED),
        ("/kernel_right_lora", ".lora_B.default.weight", _TURNED),
    ),
    "stacked": (("/kernel", "_weight", _TURNED), ("/bias", "_bias", _SAME)),
    "same": (("", "", _SAME),),
    "turned": (("", "", _TURNED),),
    "row": (("", "", Axes(ones=1)),),
    "cell": (("", "", Axes(ones=2)),),
}
"""What each kind of part consists of: how the names end, theirs and ours, and how the axes lie."""

_Rules = tuple[tuple[str, str, str], ...]
_TOWER = 8
"""Layers of the detector's tower at most; the release has four."""

_EVA: _Rules = (
    ("patch_embed.proj", "patches", "conv"),
    ("cls_token", "class_token", "cell"),
    ("pos_embed", "positions", "row"),
    ("blocks.#/norm#", "blocks.#.norm_#", "norm"),
    *((f"blocks.#/attn/{letter}_bias", f"blocks.#.{letter}_proj.bias", "same") for letter in "qv"),
    *((f"blocks.#/attn/{letter}_proj", f"blocks.#.{letter}_proj", "linear") for letter in "qkv"),
    ("blocks.#/attn/proj", "blocks.#.out_proj", "linear"),
    ("blocks.#/mlp/w1", "blocks.#.gate_proj", "linear"),
    ("blocks.#/mlp/w2", "blocks.#.up_proj", "linear"),
    ("blocks.#/mlp/w3", "blocks.#.down_proj", "linear"),
    ("blocks.#/mlp/ffn_ln", "blocks.#.inner_norm", "norm"),
    ("ln_post", "norm", "norm"),
)
_SAM: _Rules = (
    ("patch_embed.proj", "patch_embed.projection", "conv"),
    ("pos_embed", "pos_embed", "same"),
    ("blocks.#/norm#", "layers.#.layer_norm#", "norm"),
    ("blocks.#/attn/rel_pos_*", "layers.#.attn.rel_pos_*", "same"),
    ("blocks.#/*/*", "layers.#.*.*", "linear"),
    ("neck/0", "neck.conv1", "conv"),
    ("neck/1", "neck.layer_norm1", "norm"),
    ("neck/2", "neck.conv2", "conv"),
    ("neck/3", "neck.layer_norm2", "norm"),
)
_PROMPTS: _Rules = (
    ("pe_layer/positional_encoding_gaussian_matrix", "frequencies", "same"),
    ("point_embeddings.0.weight", "negative", "row"),
    ("point_embeddings.1.weight", "positive", "row"),
    ("point_embeddings.2.weight", "first_corner", "row"),
    ("point_embeddings.3.weight", "last_corner", "row"),
    ("not_a_point_embed.weight", "not_a_point", "row"),
    ("no_mask_embed.weight", "no_mask", "row"),
)
_TWO_WAY: _Rules = (
    ("transformer/layers.#/self_attn/*", "transformer.layers.#.among_tokens.*", "linear"),
    ("transformer/layers.#/cross_attn_token_to_image/*", "transformer.layers.#.to_image.*", "linear"),
    ("transformer/layers.#/cross_attn_image_to_token/*", "transformer.layers.#.to_tokens.*", "linear"),
    ("transformer/layers.#/mlp/lin1", "transformer.layers.#.fc", "linear"),
    ("transformer/layers.#/mlp/lin2", "transformer.layers.#.proj", "linear"),
    ("transformer/layers.#/norm#", "transformer.layers.#.norm_#", "norm"),
    ("transformer/final_attn_token_to_image/*", "transformer.last.*", "linear"),
    ("transformer/norm_final_attn", "transformer.norm", "norm"),
)
_EXTRACTOR: _Rules = (
    ("output_tokens.weight", "queries", "same"),
    ("image_projection_mlp/layers.0", "map_proj", "linear"),
    ("image_pe_projection_mlp/layers.0", "code_proj", "linear"),
    ("prompt_embedding_projection_mlp/layers.0", "prompt_proj", "linear"),
    *_TWO_WAY,
    ("output_hypernetworks_mlps.#/layers.0", "out", "stacked"),
    ("dense_output_mlp/layers.0", "dense_out", "linear"),
)
_PROJECTION: _Rules = (("visual_projection.0", "0", "linear"), ("visual_projection.1", "1", "norm"))
_BERT: _Rules = (
    ("visual_projection.0", "visual_projection.0", "linear"),
    ("visual_projection.1", "visual_projection.1", "norm"),
    ("embedding/words", "words", "table"),
    ("embedding/positions", "positions", "table"),
    ("embedding/layer_norm", "norm", "norm"),
    ("transformer/encoder/layer.#/attention/self/*", "layers.#.attention.self.*", "linear"),
    ("transformer/encoder/layer.#/attention/output/dense", "layers.#.attention.output.dense", "linear"),
    ("transformer/encoder/layer.#/attention/output/LayerNorm", "layers.#.attention.output.LayerNorm", "norm"),
    ("transformer/encoder/layer.#/*/dense", "layers.#.*.dense", "linear"),
    ("transformer/encoder/layer.#/output/LayerNorm", "layers.#.output.LayerNorm", "norm"),
    ("output", "head", "linear"),
)


def _t5_layers(stack: str, *kinds: tuple[str, str, str]) -> Iterator[tuple[str, str, str]]:
    """The parts of each layer of a stack, given as (their norm, their part, our part) in order."""
    for number, (norm, theirs, ours) in enumerate(kinds):
        there, here = f"{stack}/layers_#", f"{stack}.block.#.layer.{number}"
        yield f"{there}/{norm}", f"{here}.layer_norm", "norm"
        if ours == "DenseReluDense":
            yield f"{there}/{theirs}/*", f"{here}.{ours}.*", "linear"
        else:
            for long, short in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
                yield f"{there}/{theirs}/{long}", f"{here}.{ours}.{short}", "adapted"


_T5: _Rules = (
    ("token_embedder", "words", "table"),
    ("*/relpos_bias/rel_embedding", "*.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "turned"),
    *_t5_layers(
        "encoder",
        ("pre_attention_layer_norm", "attention", "SelfAttention"),
        ("pre_mlp_layer_norm", "mlp", "DenseReluDense"),
    ),
    *_t5_layers(
        "decoder",
        ("pre_self_attention_layer_norm", "self_attention", "SelfAttention"),
        ("pre_cross_attention_layer_norm", "encoder_decoder_attention", "EncDecAttention"),
        ("pre_mlp_layer_norm", "mlp", "DenseReluDense"),
    ),
    ("encoder/encoder_norm", "encoder.final_layer_norm", "norm"),
    ("decoder/decoder_norm", "decoder.final_layer_norm", "norm"),
    ("decoder/logits_dense", "head", "linear"),
)
_POINTS: _Rules = (("LayerNorm_0", "norm", "norm"), ("mlp/layers.#", "layers.#", "linear"))
_SAM_TWO_WAY: _Rules = (
    ("transformer/layers.#/norm#", "transformer.layers.#.layer_norm#", "norm"),
    ("transformer/layers.#/*/*", "transformer.layers.#.*.*", "linear"),
    ("transformer/norm_final_attn", "transformer.layer_norm_final_attn", "norm"),
    ("transformer/final_attn_token_to_image/*", "transformer.final_attn_token_to_image.*", "linear"),
)
_MASK_ADAPTER: _Rules = (
    ("output_tokens.weight", "queries", "same"),
    ("alpha_output.weight", "gate", "same"),
    ("visual_projection_mlp/LayerNorm_0", "visual_norm", "norm"),
    ("visual_projection_mlp/layers.0", "visual_proj", "linear"),
    ("textual_projection_mlp/LayerNorm_0", "text_norm", "norm"),
    ("textual_projection_mlp/layers.0", "text_proj", "linear"),
    *_TWO_WAY,
)
_MASK_DECODER: _Rules = (
    ("iou_token.weight", "iou_token.weight", "same"),
    ("mask_tokens.weight", "mask_tokens.weight", "same"),
    *_SAM_TWO_WAY,
    ("output_upscaling/0", "upscale_conv1", "grown"),
    ("output_upscaling/1", "upscale_layer_norm", "norm"),
    ("output_upscaling/3", "upscale_conv2", "grown"),
    *(
        (f"{theirs}/layers.{layer}", f"{theirs}.{ours}", "linear")
        for theirs in ("output_hypernetworks_mlps.#", "iou_prediction_head")
        for layer, ours in enumerate(("proj_in", "layers.0", "proj_out"))
    ),
)
_BOXES: _Rules = (
    ("fpn/simfp_3.0", "pyramid.up", "pyramid"),
    *(
        (f"fpn/simfp_{level}.{first + number}{norm}", f"pyramid.{ours}.{part}{norm.replace('.', '_')}", "norm" if norm else "conv")
        for level, first, ours in ((3, 1, "finer"), (4, 0, "equal"), (5, 1, "coarser"))
        for number, part in enumerate(("narrow", "smooth"))
        for norm in ("", ".norm")
    ),
    ("fpn/top_block/p6", "pyramid.fourth", "conv"),
    ("fpn/top_block/p7", "pyramid.fifth", "conv"),
    # a convolution, a norm and what has no parameters, in turn
    *((f"proposal_generator/bbox_tower/{3 * layer}", f"proposal_head.tower.{3 * layer}", "conv") for layer in range(_TOWER)),
    *((f"proposal_generator/bbox_tower/{3 * layer + 1}", f"proposal_head.tower.{3 * layer + 1}", "norm") for layer in range(_TOWER)),
    ("proposal_generator/bbox_pred", "proposal_head.reach", "conv"),
    ("proposal_generator/agn_hm", "proposal_head.heat", "conv"),
    ("proposal_generator/scales.#/scale", "proposal_head.scales.#", "same"),
    ("roi_heads/box_head.0/fc#", "region_head.fc#", "linear"),
    ("roi_heads/box_head.0/cls_score", "region_head.classes", "linear"),
    ("roi_heads/box_head.0/bbox_pred", "region_head.deltas", "linear"),
)
PARTS: Mapping[str, tuple[str, _Rules]] = {
    "git_backbone": ("towers.towers.0.", _EVA),
    "sam_backbone": ("towers.towers.1.", _SAM),
    "prompt_encoder": ("location_prompts.", _PROMPTS),
    "prompt_adapter": ("extractor.", _EXTRACTOR),
    "visual_project_layers": ("visual_projection.", _PROJECTION),
    "textual/t5_module": ("writer.", _T5),
    "textual": ("writer.", _BERT),
    "point_predictor": ("location_head.", _POINTS),
    "mask_adapter": ("mask_adapter.", _MASK_ADAPTER),
    "mask_decoder": ("mask_decoder.", _MASK_DECODER),
    "box_decoder": ("detector.", _BOXES),
}
"""The release's parts, where ours stand in the model, and the names in them, theirs and ours; # stands for a number, * for a word."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a parameter is called on the other side, how its axes lie, and which row it is of one of ours, where ours stacks several."""

    name: str
    axes: Axes
    row: int | None = None


def ours_of(theirs: str) -> Place | None:
    """Our name for one of theirs; None for a name that no PixelLLM has.

    >>> ours_of("git_backbone/blocks.3/mlp/w1/kernel").name
    'towers.towers.0.blocks.3.gate_proj.weight'
    >>> ours_of("prompt_adapter/output_hypernetworks_mlps.7/layers.0/bias")
    Place(name='extractor.out_bias', axes=Axes(order=(), flips=(), ones=0), row=7)
    """
    for pattern, _, name, axes in _names():
        if found := pattern.fullmatch(theirs):
            words = found.groups()
            row = int(words[0]) if name.count("{}") < len(words) else None
            return Place(name.format(*words), axes, row)
    return None


def theirs_of(ours: str, *, t5: bool = False) -> Place | None:
    """Their name for one of ours; it still holds a # where ours stacks several of theirs. None for what the release does not have.

    `t5`: whether the language model is T5; ours has names in it that BERT has too.

    >>> theirs_of("writer.decoder.block.2.layer.1.EncDecAttention.q.base_layer.weight", t5=True).name
    'textual/t5_module/decoder/layers_2/encoder_decoder_attention/query/kernel'
    """
    for _, pattern, name, axes in _names(back=True):
        if ours.startswith("writer.") and name.startswith("textual/t5_module/") != t5:
            continue
        if found := pattern.fullmatch(ours.replace(".base_layer", "")):
            return Place(name.format(*found.groups()), axes)
    return None


def grouped(weights: Mapping[str, Weight]) -> tuple[list[Weight], list[str]]:
    """Their parameters as ours, and the names that belong nowhere. ValueError where what is to be stacked is not numbered from 0 without a gap."""
    found: list[Weight] = []
    stacks: dict[tuple[str, Axes], dict[int, Weight]] = {}
    odd = []
    for key, weight in weights.items():
        place = ours_of(key)
        if place is None:
            odd.append(key)
        elif place.row is not None:
            stacks.setdefault((place.name, place.axes), {})[place.row] = weight
        else:
            adapted = f"{key}_left_lora" in weights
            found.append(_moved(weight, place.name.replace(".weight", ".base_layer.weight") if adapted else place.name, place.axes, back=False))
    for (name, axes), rows in stacks.items():
        if sorted(rows) != list(range(len(rows))):
            raise ValueError(f"{name} is made of the numbers {sorted(rows)}; 0 to {len(rows) - 1} are wanted.")
        found.append(_stacked(name, axes, [rows[number] for number in range(len(rows))]))
    return found, odd


def separated(weights: Iterable[Weight]) -> list[Weight]:
    """The reverse of `grouped`. ValueError for a parameter that the release has no name for."""
    found, weights = [], list(weights)
    t5 = any(weight.name.startswith("writer.decoder.") for weight in weights)
    for weight in weights:
        place = theirs_of(weight.name, t5=t5)
        if place is None:
            raise ValueError(f"{weight.name} is no parameter of the PixelLLM that was released: no EVA-02 and SAM, BERT or T5 has it.")
        if "#" in place.name:
            found += [_row(weight, place, number) for number in range(weight.shape[0])]
        else:
            found.append(_moved(weight, place.name, place.axes, back=True))
    return found


def as_ours(theirs: Mapping[str, Tensor], part: str = "") -> dict[str, Tensor]:
    """Parameters in memory, or their gradients, under our names; of one `part`, named as in it, for a module alone. ValueError for an unknown name.

    >>> sorted(as_ours({"LayerNorm_0/scale": torch.ones(2), "mlp/layers.1/kernel": torch.zeros(3, 2)}, "point_predictor"))
    ['layers.1.weight', 'norm.weight']
    """
    there, here = (f"{part}/", PARTS[part][0]) if part else ("", "")
    found, odd = grouped({f"{there}{name}": _held(f"{there}{name}", value) for name, value in theirs.items()})
    if odd:
        raise ValueError(f"{odd[0]} is no parameter of a PixelLLM.")
    return {weight.name.removeprefix(here): weight.read() for weight in found}


def as_theirs(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `as_ours`, of a whole model's."""
    return {weight.name: weight.read() for weight in separated(_held(name, value) for name, value in ours.items())}


def _held(name: str, value: Tensor) -> Weight:
    return Weight(name, value.dtype, tuple(value.shape), lambda *rows: value[slice(*rows)] if rows else value)


def _moved(weight: Weight, name: str, axes: Axes, *, back: bool) -> Weight:
    if axes == _SAME:
        return replace(weight, name=name)
    shape = _shape(weight.shape, axes, back)
    if axes == _TURNED:
        return Weight(name, weight.dtype, shape, partial(_columns, weight))

    def read(start: int = 0, stop: int | None = None) -> Tensor:
        whole = weight.read()
        return (axes.theirs(whole) if back else axes.ours(whole))[start:stop].contiguous()

    return Weight(name, weight.dtype, shape, read)


def _columns(weight: Weight, start: int = 0, stop: int | None = None) -> Tensor:
    """Rows of a turned matrix, which are columns of what is stored, of which a few rows are in memory at a time."""
    height, width = weight.shape
    turned, done = None, 0
    for rows in weight.pieces():
        if turned is None:
            turned = rows.new_empty(len(range(width)[start:stop]), height)
        turned[:, done : done + len(rows)] = rows[:, start:stop].T
        done += len(rows)
    assert turned is not None
    return turned


def _stacked(name: str, axes: Axes, weights: Sequence[Weight]) -> Weight:
    def read(start: int = 0, stop: int | None = None) -> Tensor:
        return torch.stack([axes.ours(weight.read()) for weight in weights[start:stop]])

    return Weight(name, weights[0].dtype, (len(weights), *_shape(weights[0].shape, axes, False)), read)


def _row(weight: Weight, place: Place, number: int) -> Weight:
    def read(start: int = 0, stop: int | None = None) -> Tensor:
        return place.axes.theirs(weight.read(number, number + 1)[0])[start:stop].contiguous()

    return Weight(place.name.replace("#", str(number)), weight.dtype, _shape(weight.shape[1:], place.axes, True), read)


def _shape(shape: tuple[int, ...], axes: Axes, back: bool) -> tuple[int, ...]:
    whole = torch.empty(shape, device="meta")
    return tuple((axes.theirs(whole) if back else axes.ours(whole)).shape)


@cache
def _names(back: bool = False) -> list[tuple[re.Pattern[str], re.Pattern[str], str, Axes]]:
    """Every pair of names: patterns of theirs and of ours, the other side's name with {} where a number or a word stands, and the axes."""
    found = []
    for part, (place, rules) in PARTS.items():
        for theirs, ours, kind in rules:
            for end, our_end, axes in _KINDS[kind]:
                names = f"{part}/{theirs}{end}", f"{place}{ours}{our_end}"
                other = names[0] if back else names[1]
                stays = "#" if back and kind == "stacked" else "{}"
                found.append((_pattern(names[0]), _pattern(names[1]), other.replace("*", "{}").replace("#", stays), axes))
    return found


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", r"(\w+)").replace(r"\#", r"(\d+)"))
