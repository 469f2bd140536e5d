"""A Ferret-v2 before any training, put together of trained parts: an encoder of the whole, one of tiles, and a language model.

    python recipes/assemble.py openai/clip-vit-large-patch14-336 Qwen/Qwen3-8B OUT --tiles facebook/dinov2-large

The folder it makes is what `foveal train recipes/ferret_v2.py:align --start OUT` begins with; without `--tiles`, `recipes/ferret.py:instruct`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from foveal.grounding.wordings.ferret import TEMPLATES
from foveal.models import FerretConfig, FerretForConditionalGeneration, FerretProcessor, GroundedModel, Processor
from foveal.models.conversion import listed
from foveal.train import aside
from foveal.vision import build_backbone

__all__ = ["assemble", "begun_with", "check_places", "encoder", "main", "put_together", "under"]

_NEW = ("projector.", "local_projector.", "sampler.", "positions.", "map_adapters.", "image_newline")


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
    check_places(overview, language, *([tiles] if tiles else []))
    whole, near = encoder(overview), encoder(tiles) if tiles else None
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
    given = under("overview_tower.backbone.", whole) | under("language_model.", words)
    given |= under("local_tower.backbone.", near) if near else {}
    model: Any = begun_with(
        FerretForConditionalGeneration, config, given, ("projector.", "local_projector.", "sampler.", "positions.", "image_newline")
    )
    return model, FerretProcessor.from_config(config, tokenizer)


def check_places(*places: str) -> None:
    """ValueError for a part that is neither a folder or file that is there, nor could be a name on the hub.

    >>> check_places("owner/model")
    >>> check_places("/no/such/folder")
    Traceback (most recent call last):
    ValueError: there is no folder /no/such/folder; a part is a folder that is there, or a name on the hub like owner/model.
    """
    for place in places:
        if not Path(place).exists() and (place.startswith(("/", ".", "~")) or place.endswith("/") or place.count("/") > 1):
            raise ValueError(f"there is no folder {place}; a part is a folder that is there, or a name on the hub like owner/model.")


def under(name: str, part: PreTrainedModel) -> dict[str, Tensor]:
    """A part's weights by the names that they have in a model where the part stands under `name`; of those that are one, one."""
    return {f"{name}{key}": value for key, value in part.state_dict().items() if key not in part.all_tied_weights_keys}


def begun_with(kind: type[GroundedModel], config: PreTrainedConfig, given: Mapping[str, Tensor], new: tuple[str, ...]) -> GroundedModel:
    """A model of this kind that has the `given` weights, and whose others, all under one of the `new` names or adapters', begin as it begins
    them. ValueError where a weight is neither given nor to be new, or is given in vain or in another shape.
    """
    with torch.device("meta"):
        hollow = kind(config)
    shapes = {name.replace(".base_layer", ""): (name, value.shape) for name, value in hollow.state_dict().items()}
    missing = [name for name in shapes if name not in given and "lora_" not in name and not name.startswith((*new, *hollow.all_tied_weights_keys))]
    odd = [name for name, value in given.items() if name not in shapes or shapes[name][1] != value.shape]
    if missing or odd:
        said = f"missing: {listed(missing)}" if missing else f"superfluous or of another shape: {listed(odd)}"
        raise ValueError(f"the parts' weights do not make up a {kind.__name__}; {said}.")
    named = {shapes[name][0]: value for name, value in given.items()}
    model: GroundedModel = kind.from_pretrained(None, config=config, state_dict=named, dtype=torch.float32)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        assert value.device.type != "meta" and value.isfinite().all(), f"{name} was not begun"
    return model.eval()


def encoder(place: str) -> PreTrainedModel:
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


def put_together(out: Path, seed: int, make: Callable[[], tuple[GroundedModel, Processor]]) -> None:
    """Makes the folder `out`, whole or not at all, of the model and the processor that `make` gives, new parts by this seed.

    typer.BadParameter, in one sentence, for a folder that is there and for what `make` refuses.
    """
    if out.exists():
        raise typer.BadParameter(f"{out} is there already.")
    torch.manual_seed(seed)
    logging.set_verbosity_error()  # transformers lists what is missing, which is what is new
    logging.disable_progress_bar()
    try:
        model, processor = make()
    except (ImportError, OSError, ValueError) as error:
        raise typer.BadParameter((str(error).strip().splitlines() or [type(error).__name__])[0]) from error
    with aside(out) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    count = sum(value.numel() for value in model.parameters())
    print(f"{out} holds a {type(model).__name__} of {count:,} weights; its parts keep their licences.")


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
    put_together(out, seed, lambda: assemble(overview, language, tiles, template=template, tile_side=tile_side))


if __name__ == "__main__":
    typer.run(main)
