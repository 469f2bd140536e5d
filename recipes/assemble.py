"""A Ferret-v2 before any training, put together of trained parts: an encoder of the whole, one of tiles, and a language model.

    python recipes/assemble.py openai/clip-vit-large-patch14-336 Qwen/Qwen3-8B OUT --tiles facebook/dinov2-large

The folder it makes is what `foveal train recipes/ferret_v2.py:align --start OUT` begins with; without `--tiles`, `recipes/ferret.py:instruct`.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from foveal.grounding.wordings.ferret import TEMPLATES
from foveal.models import FerretConfig, FerretForConditionalGeneration, FerretProcessor
from foveal.train import aside
from foveal.vision import build_backbone

__all__ = ["assemble", "main"]


def assemble(
    overview: str, language: str, tiles: str | None = None, *, template: str | None = None, tile_side: int = 336, **fields: Any
) -> tuple[FerretForConditionalGeneration, FerretProcessor]:
    """The model and its processor; `fields` are other ones of its configuration. Each part is a folder or a name on the hub.

    Projectors and sampler are random, by torch's seed. Without a `template`, conversations are written as the tokenizer's control tokens say:
    Qwen's, Llama's and Gemma's in their own way, others in Vicuna's. The tokenizer gets tokens for images and regions, and the one that ends
    the template's answers where it has none. Of encoders of different widths regions are read from both maps side by side. ValueError for a
    part that is of another kind, and for a template that is not known.
    """
    if template is not None and template not in TEMPLATES:
        raise ValueError(f"template {template!r}; there are {', '.join(sorted(TEMPLATES))}.")
    whole, near = _encoder(overview), _encoder(tiles) if tiles else None
    words: Any = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(language)
    template = template or next((name for token, name in _SPOKEN.items() if token in tokenizer.get_vocab()), "ferret_vicuna_v1")
    new = [token for token in ("<image>", "<region_fea>", TEMPLATES[template].stop) if token.strip() and token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(new, special_tokens=True)
    if len(tokenizer) > words.get_input_embeddings().num_embeddings:
        words.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    known = {
        "vision_config": whole.config.to_dict(),
        "local_vision_config": near.config.to_dict() if near else None,
        "text_config": words.config.to_dict(),
        "overview_side": _side(whole, whole.config.image_size),
        "tile_side": _side(near or whole, tile_side),
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "region_token_id": tokenizer.convert_tokens_to_ids("<region_fea>"),
        "template": template,
        "context_length": 4096,
    }
    if near is None:
        known |= {"grids": [], "projector": "linear", "context_length": 2048}  # Ferret v1
    elif near.config.hidden_size != whole.config.hidden_size:
        known["map_fusion"] = "concat"
    config = FerretConfig(**(known | fields))
    with torch.device("meta"):
        model: Any = FerretForConditionalGeneration(config)
    model.overview_tower.backbone, model.language_model = whole, words
    if near is not None:
        model.local_tower.backbone = near
    for name, part in model.named_children():
        if not any(value.device.type != "meta" for value in part.parameters()):
            _begin(model, part, name)
    return model.eval(), FerretProcessor.from_config(config, tokenizer)


def _begin(model: Any, part: nn.Module, name: str) -> None:
    """Weights of a part that comes from nowhere, as the model begins them."""
    part.to_empty(device="cpu")
    for module in part.modules():
        model._init_weights(module)
    if odd := [key for key, value in part.named_parameters() if not value.isfinite().all()]:
        raise ValueError(f"{name}.{odd[0]} was not begun; this is a fault of ours")


def _encoder(place: str) -> PreTrainedModel:
    """The image encoder of a folder or of a name on the hub, also where it is half of a model of images and texts (CLIP, SigLIP)."""
    config: Any = AutoConfig.from_pretrained(place)
    with torch.device("meta"):
        kind = type(build_backbone(getattr(config, "vision_config", config)))
    found: PreTrainedModel = kind.from_pretrained(place, dtype=torch.float32)
    return found


_SPOKEN = {"<|im_start|>": "ferret_chatml", "<|start_header_id|>": "ferret_llama_3", "<start_of_turn>": "ferret_gemma_instruct"}
"""How language models that know a control token speak."""


def _side(tower: PreTrainedModel, side: int) -> int:
    """The largest side up to `side` that the encoder's patches divide."""
    config: Any = tower.config
    return side // config.patch_size * config.patch_size


def main(
    overview: Annotated[str, typer.Argument(help="The encoder of the whole image: a CLIP or a SigLIP, by folder or name on the hub.")],
    language: Annotated[str, typer.Argument(help="Any causal language model with a fast tokenizer.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    tiles: Annotated[str | None, typer.Option("--tiles", help="The encoder of tiles, a DINOv2; without it a Ferret v1 is made.")] = None,
    template: Annotated[str | None, typer.Option(help="How conversations are written; else as the language model is used to.")] = None,
    tile_side: Annotated[int, typer.Option(help="Side of a tile in pixels.")] = 336,
    seed: Annotated[int, typer.Option(help="Of projectors and sampler.")] = 0,
) -> None:
    """Put a Ferret together of trained parts."""
    if out.exists():
        raise typer.BadParameter(f"{out} is there already.")
    torch.manual_seed(seed)
    try:
        model, processor = assemble(overview, language, tiles, template=template, tile_side=tile_side)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    with aside(out) as new:
        model.save_pretrained(new)
        processor.save_pretrained(new)
    print(f"{out} holds a Ferret of {sum(value.numel() for value in model.parameters()):,} weights; its parts keep their licences.")


if __name__ == "__main__":
    typer.run(main)
