"""PixelLLM: a language model that is asked with places, and says of every word where it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from foveal.grounding.wordings.verbs import Verbs
from foveal.models.base import GroundedModel
from foveal.models.losses import token_cross_entropy
from foveal.models.pixel_llm.config import PixelLLMConfig
from foveal.models.pixel_llm.decoding import Written, search, write
from foveal.models.pixel_llm.detection import DetectionLoss, detection_loss, regions_found
from foveal.models.pixel_llm.language import build_writer
from foveal.models.pixel_llm.masks import MaskAdapter, MaskDecoder, mask_losses
from foveal.models.pixel_llm.places import LocationHead, boxes_of_points, place_loss
from foveal.models.pixel_llm.sight import PixelSight
from foveal.models.pixel_llm.writer import Writer, start
from foveal.vision import CLIP_COLOURS, EVEN_COLOURS, IMAGENET_COLOURS, LocationPrompts, PromptExtractor, TowerPair, TwoWayTransformer, build_tower
from foveal.vision.proposals import BoxDecoder

__all__ = ["PixelLLMForConditionalGeneration", "PixelLLMOutput"]

_COLOURS = {"clip": CLIP_COLOURS, "imagenet": IMAGENET_COLOURS, "even": EVEN_COLOURS}


@dataclass
class PixelLLMOutput(ModelOutput):
    """What PixelLLM makes of texts, one row each: `logits` "rows length vocabulary" and `features` "rows length width" of the tokens read,
    `points` "rows length points 2" in fractions of the unpadded picture and the logarithms of their `spread`; with targets the `loss` and its
    parts, `text_loss`, `place_loss`, `mask_loss`, `box_loss`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    features: Tensor | None = None
    points: Tensor | None = None
    spread: Tensor | None = None
    text_loss: Tensor | None = None
    place_loss: Tensor | None = None
    mask_loss: Tensor | None = None
    box_loss: Tensor | None = None
    sight: PixelSight | None = None


class PixelLLMForConditionalGeneration(GroundedModel):
    """PixelLLM (arXiv 2312.09237) over any two towers and any language model.

    A row is a prompt of an image, with its text: `boxes_px` "rows 4" in pixels of the input (or points of `points_px` and `point_labels`, then
    with a box of zeros), `image` the number of each row's image, `context` the ids of what is asked. Images are `pixel_values` "images 3 side
    side" from 0 to 1, padded at the bottom or on the right, and `real`, true where they are not padding; or a `sight`. A text's place for a word
    is read from the state of the token that has read it (the release; the paper's formulas stand one token earlier).
    """

    config: PixelLLMConfig
    config_class = PixelLLMConfig
    _keep_in_fp32_modules_strict = ("location_prompts.frequencies",)

    def __init__(self, config: PixelLLMConfig) -> None:
        super().__init__(config)
        words: Any = config.text_config
        kinds = [(config.vision_config, config.vision_colours), (config.place_config, config.place_colours)][: 1 + config.two_towers]
        self.towers = TowerPair([build_tower(kind) for kind, _ in kinds], [_COLOURS[colours] for _, colours in kinds], grid=config.grid)
        self.location_prompts = LocationPrompts(config.prompt_dim)
        self.extractor = PromptExtractor(
            self.towers.dim,
            prompt_dim=config.prompt_dim,
            width=config.extractor_width,
            depth=config.extractor_depth,
            heads=config.extractor_heads,
            mlp=config.extractor_mlp,
            queries=config.queries,
            out=config.visual_dim,
            dense=config.dense_out,
        )
        width = words.hidden_size
        self.visual_projection = _projection(config.visual_dim, width) if config.projects_first else nn.Identity()
        self.writer: Writer = build_writer(
            words,
            None if config.projects_first else config.visual_dim,
            uniform_rows=config.uniform_rows,
            lora_rank=config.lora_rank,
            lora_alpha=config.lora_alpha,
        )
        self.location_head = None
        if config.location_points:
            self.location_head = LocationHead(width, config.location_hidden, config.location_depth, config.location_points)
        if config.segments:
            seen = width if config.projects_first else config.visual_dim
            self.mask_adapter = MaskAdapter(seen, width, config.prompt_dim, config.mask_mlp)
            self.mask_decoder = MaskDecoder(config.prompt_dim, config.mask_mlp, config.mask_hidden)
        if config.detector is not None:
            self.detector = BoxDecoder(self.towers.dim, **config.detector)
        self.post_init()
        self.freeze()

    @classmethod
    def from_pretrained(cls, *where: Any, **how: Any) -> Any:
        """As transformers' own, which lets everything learn that it loads; what the configuration freezes stays frozen."""
        found = super().from_pretrained(*where, **how)
        (found[0] if isinstance(found, tuple) else found).freeze()
        return found

    def able(self, verbs: Verbs) -> Verbs:
        """Of the family's verbs those for which there are a detector, places of words, a mask decoder."""
        gone = {} if self.config.detector is not None else {"dense_captions": None, "say_detection": None}
        gone |= {} if self.config.segments else {"segmentation": None}
        return replace(verbs, **(gone if self.config.location_points else gone | {"location": None, "every_word": False}))

    def freeze(self) -> None:
        """Lets nothing learn that the configuration freezes: places (`frozen_places`), and the language model beside its adapters."""
        if self.config.frozen_places:
            for part in self._frozen():
                part.requires_grad_(False)
        if self.config.lora_rank:
            for name, value in self.writer.named_parameters():
                value.requires_grad_("lora_" in name or name.startswith("visual_projection"))

    def encode_images(
        self, pixel_values: Float[Tensor, "images 3 height width"], real: Bool[Tensor, "images height width"] | None = None
    ) -> PixelSight:
        """What both towers see of a batch of images: everything that is asked later is asked of this."""
        seen = self.towers(pixel_values.to(self.dtype), real)
        maps = seen.fused.permute(0, 3, 1, 2)
        fine = tuple(seen.maps[1].permute(0, 3, 1, 2)) if len(seen.maps) > 1 else ()
        nothing = maps.new_zeros(0, self.config.text_config.hidden_size)
        return PixelSight((nothing,) * len(maps), tuple(maps), fine, (pixel_values.shape[-1], pixel_values.shape[-2]))

    def encode_prompts(
        self,
        sight: PixelSight,
        boxes_px: Float[Tensor, "rows 4"],
        image: Int[Tensor, " rows"] | None = None,
        points_px: Float[Tensor, "rows points 2"] | None = None,
        point_labels: Int[Tensor, "rows points"] | None = None,
    ) -> Float[Tensor, "rows slots width"]:
        """The visual tokens of each prompt, of one image or several: one batch, an image's map projected once, a prompt that several rows share
        (the whole picture, most often) encoded once.
        """
        image = torch.zeros(len(boxes_px), dtype=torch.long, device=boxes_px.device) if image is None else image
        asked = [image[:, None], boxes_px] + ([] if points_px is None else [points_px.flatten(1), point_labels])
        same, first = _first_of_each(torch.cat([part.float() for part in asked], 1))
        chosen = [None if part is None else part[first] for part in (boxes_px, points_px, point_labels)]
        maps = sight.grids()
        prompts = self.location_prompts(*chosen, size=sight.size)
        codes = self.location_prompts.grid(*maps.shape[1:3])
        tokens = self.extractor(maps, codes, self.location_prompts.no_mask, prompts, image[first])
        return self.visual_projection(tokens)[same]

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "rows length"],
        boxes_px: Float[Tensor, "rows 4"],
        image: Int[Tensor, " rows"] | None = None,
        context: Int[Tensor, "rows context"] | None = None,
        points_px: Float[Tensor, "rows points 2"] | None = None,
        point_labels: Int[Tensor, "rows points"] | None = None,
        labels: Int[Tensor, "rows length"] | None = None,
        places: Float[Tensor, "rows length corners 2"] | None = None,
        placed: Bool[Tensor, "rows length"] | None = None,
        sizes: Float[Tensor, "images 2"] | None = None,
        masks: Bool[Tensor, "rows height width"] | None = None,
        masked: Bool[Tensor, " rows"] | None = None,
        objects: Float[Tensor, "searched most 4"] | None = None,
        searched: Int[Tensor, " searched"] | None = None,
        pixel_values: Float[Tensor, "images 3 height width"] | None = None,
        real: Bool[Tensor, "images height width"] | None = None,
        sight: PixelSight | None = None,
    ) -> PixelLLMOutput:
        """Logits, states and points of given texts, and what is lowered in training.

        With `labels` (as `input_ids`; -100 is not to be predicted) the smoothed cross-entropy of each label under the logits before it. With
        `places`, corners in pixels of the input like `boxes_px`, the loss of the points of `placed` tokens (of one point: from their middle);
        `sizes` are each image's (height, width) there, without padding. With `masks` of the rows that are `masked`, in the padded input, SAM's
        losses, asked with the boxes that the `placed` tokens say. With `objects`, boxes of all things in pixels of the input (rows of zeros are
        padding), the detector's losses, of the images `searched`, or else of all; in training a row that asks about one of them, and not
        about all of the picture, is then asked about a region that was found in its place (`regions_found`).
        """
        sight = self._sight(pixel_values=pixel_values, real=real) if sight is None else sight
        image = torch.zeros(len(boxes_px), dtype=torch.long, device=boxes_px.device) if image is None else image
        parts: dict[str, Tensor] = {}
        if objects is not None:
            found = self._detection_loss(sight, objects, searched)
            parts["box_loss"] = found.total
            if self.training:
                boxes_px = regions_found(boxes_px, _slots(image, boxes_px, searched, sizes), objects, found.samples)
        visual = self.encode_prompts(sight, boxes_px, image, points_px, point_labels)
        logits, features = self.writer(visual, input_ids, context)
        located: Any = self.location_head(features) if self.location_head is not None else (None, None)
        points, spread = located
        if labels is not None:
            parts["text_loss"] = token_cross_entropy(logits, labels, smoothing=self.config.label_smoothing)
        if points is None and masks is None and placed is not None and not placed.any():
            places = None
        if places is not None or masks is not None:
            if points is None:
                raise ValueError("places were given to a model that was made without them; one with location_points=2 is wanted.")
            if placed is None or sizes is None:
                raise ValueError("places or masks were given without `placed` tokens or the images' `sizes`; both are wanted.")
            sides = sizes[image].flip(-1)[:, None, None]
            if places is not None:
                scale = self._unit(sides)
                wanted = places if self.config.location_points > 1 else places.mean(2, keepdim=True)
                parts["place_loss"] = place_loss(points * sides / scale, wanted / scale, placed, spread if self.config.scored_places else None)
            if masks is not None:
                chosen = masked if masked is not None else torch.ones(len(masks), dtype=torch.bool, device=masks.device)
                boxes = boxes_of_points(points * sides, placed)
                drawn, ious = self.draw_masks(sight, image[chosen], boxes[chosen], visual[chosen], features[chosen], input_ids[chosen])
                shown = _shown(sizes[image[chosen]], masks[chosen])
                parts["mask_loss"] = mask_losses(drawn, ious, masks[chosen], shown)["loss"]
        weights = {"place_loss": self.config.place_weight}
        loss = torch.stack([weights.get(name, 1.0) * value for name, value in parts.items()]).sum() if parts else None
        return PixelLLMOutput(loss=loss, logits=logits, features=features, points=points, spread=spread, sight=sight, **parts)

    @torch.no_grad()
    def generate(
        self,
        boxes_px: Float[Tensor, "rows 4"],
        image: Int[Tensor, " rows"] | None = None,
        context: Int[Tensor, "rows context"] | None = None,
        points_px: Float[Tensor, "rows points 2"] | None = None,
        point_labels: Int[Tensor, "rows points"] | None = None,
        pixel_values: Float[Tensor, "images 3 height width"] | None = None,
        real: Bool[Tensor, "images height width"] | None = None,
        sight: PixelSight | None = None,
        max_new_tokens: int | None = None,
        num_beams: int = 1,
        return_dict_in_generate: bool = False,
        **how: Any,
    ) -> Int[Tensor, "rows length"] | Written:
        """Texts of prompts: ids that begin with what begins a text, or with `return_dict_in_generate` also scores, and each token's state, from
        which `location_head` says its place without another pass. `how` are the further options of `write` (of `search`, with beams).
        """
        sight = self._sight(pixel_values=pixel_values, real=real) if sight is None else sight
        visual = self.encode_prompts(sight, boxes_px, image, points_px, point_labels)
        limit = max_new_tokens or self.config.text_length - 1
        if num_beams > 1:
            found = search(self.writer, visual, context, limit=limit, beams=num_beams, **how).of_beam(0)
        else:
            found = write(self.writer, visual, context, limit=limit, **({"forbid_repeats": self.config.forbid_repeats} | how))
        return found if return_dict_in_generate else found.ids

    @torch.no_grad()
    def detect(self, sight: PixelSight, sizes: Sequence[tuple[float, float]]) -> tuple[Float[Tensor, "images most 4"], Float[Tensor, "images most"]]:
        """Boxes of things in pixels of the input and their scores, the surest first, zeros behind them; within `sizes`, the (width, height) that each
        picture has there. ValueError for a model without a detector.
        """
        if self.config.detector is None:
            raise ValueError("this model was made without a detector; one with detector={} is wanted.")
        boxes, scores = self.detector(sight.grids(), sight.size)
        return boxes.minimum(boxes.new_tensor(sizes).repeat(1, 2)[:, None]), scores

    def draw_masks(
        self,
        sight: PixelSight,
        image: Int[Tensor, " rows"],
        boxes_px: Float[Tensor, "rows 4"],
        visual: Float[Tensor, "rows slots _"],
        features: Float[Tensor, "rows length _"],
        input_ids: Int[Tensor, "rows length"] | None = None,
    ) -> tuple[Float[Tensor, "rows masks _ _"], Float[Tensor, "rows masks"]]:
        """Logits of one mask a row over the padded input, coarser than it, and its expected IoU, from a box and the words that led to it.

        With `input_ids` padding is not looked at, unless the configuration says so (`masks_read_padding`).

        ValueError for a model without a mask decoder.
        """
        if not self.config.segments:
            raise ValueError("this model was made without a mask decoder; one with segments=True is wanted.")
        said = None if input_ids is None or self.config.masks_read_padding else _up_to_the_end(input_ids, self.writer.pad_token_id)
        boxes = self.mask_adapter(visual, features, self.location_prompts.boxes(boxes_px, sight.size), said)
        maps = torch.stack(sight.fine)
        codes = self.location_prompts.grid(*maps.shape[2:]).permute(2, 0, 1)[None]
        return self.mask_decoder.decide(maps[image], codes, boxes, self.location_prompts.no_mask[None])

    def _detection_loss(self, sight: PixelSight, objects: Tensor, searched: Tensor | None) -> DetectionLoss:
        if self.config.detector is None:
            raise ValueError("objects were given to a model that was made without a detector; one with detector={} is wanted.")
        maps = sight.grids() if searched is None else sight.grids()[searched]
        return detection_loss(self.detector, maps, sight.size, objects)

    def _sight(self, *looks: Any, **named: Any) -> PixelSight:
        if named.get("pixel_values") is None:
            raise ValueError("give either pixel_values or a sight.")
        return self.encode_images(*looks, **named)

    def _unit(self, sides: Tensor) -> Tensor | float:
        """Distances are counted in pixels, as in the release; where their spread is learnt too, in pictures."""
        return sides.amax(-1, keepdim=True) if self.config.scored_places else 1.0

    def _frozen(self) -> list[nn.Module]:
        parts: list[nn.Module] = [self.location_prompts]
        parts += [self.towers.towers[1]] if self.config.two_towers else []
        return parts + ([self.mask_decoder] if self.config.segments else [])

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if module is self.visual_projection:
            start(module)
        elif isinstance(module, LocationPrompts | PromptExtractor | TwoWayTransformer | LocationHead | Writer | BoxDecoder | MaskAdapter):
            module.reset()
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        return self.writer.get_submodule(self._table())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.writer.set_submodule(self._table(), value)

    def _table(self) -> str:
        """Where the language model has its words."""
        return next(name for name, module in self.writer.named_modules() if isinstance(module, nn.Embedding))


def _projection(dim: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, width), nn.LayerNorm(width, eps=1e-5))


def _first_of_each(rows: Float[Tensor, "rows values"]) -> tuple[Int[Tensor, " rows"], Int[Tensor, " kinds"]]:
    """Which kind each row is of, and the first row of each kind."""
    kinds, kind = rows.unique(dim=0, return_inverse=True)
    order = torch.arange(len(rows), device=rows.device)
    first = order.new_full((len(kinds),), len(rows)).scatter_reduce(0, kind, order, "amin")
    return kind, first


def _slots(
    image: Int[Tensor, " rows"],
    boxes_px: Float[Tensor, "rows 4"],
    searched: Int[Tensor, " searched"] | None,
    sizes: Float[Tensor, "images 2"] | None,
) -> Int[Tensor, " rows"]:
    """Where the image of each row stands among those `searched`, of which None is all; -1 where it does not, and for a row about all of a picture."""
    slots = image
    if searched is not None:
        same = image[:, None] == searched
        slots = torch.where(same.any(1), same.long().argmax(1), -1)
    if sizes is not None:
        whole = functional.pad(sizes[image].flip(-1), (2, 0))
        slots = slots.masked_fill((boxes_px - whole).abs().amax(1) < 1, -1)
    return slots


def _up_to_the_end(ids: Int[Tensor, "rows length"], pad: int) -> Bool[Tensor, "rows length"]:
    """Which tokens are of the text: all up to the last that is not padding; in T5 padding begins a text, too."""
    return (ids != pad).flip(-1).cumsum(-1).flip(-1) > 0


def _shown(sizes: Float[Tensor, "rows 2"], masks: Bool[Tensor, "rows height width"]) -> Float[Tensor, "rows height width"]:
    """1 on the unpadded part of each row's picture, of (height, width) `sizes`."""
    height, width = masks.shape[-2:]
    down, across = torch.arange(height, device=masks.device), torch.arange(width, device=masks.device)
    return ((down < sizes[:, :1])[:, :, None] & (across < sizes[:, 1:])[:, None]).float()
