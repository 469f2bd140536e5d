"""A PixelLLM before any training, put together of trained parts: an encoder that knows things, SAM, and a language model.

    python recipes/assemble_pixel_llm.py timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k facebook/sam-vit-huge google-bert/bert-base-uncased OUT
    python recipes/assemble_pixel_llm.py google/siglip2-large-patch16-384 facebook/sam-vit-base google/flan-t5-xl OUT --lora 32

The folder it makes is what `foveal train recipes/pixel_llm.py:caption --start OUT` begins with, and with T5 and `--lora` `trace_t5`.
"""

import ast
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BertModel, PreTrainedConfig, SamModel, T5ForConditionalGeneration

from assemble import begun_with, check_places, encoder, put_together, under
from foveal.models import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.models.conversion import listed, refusing_settings
from foveal.models.pixel_llm.open_parts import bert_weights, eva_parts, sam_weights, t5_weights
from foveal.models.shards import open_weights

__all__ = ["assemble", "main"]

LAYERS = 6
"""Of BERT: as many as PixelLLM's language model has."""
_NEW = ("extractor.", "visual_projection.", "writer.visual_projection.", "location_head.", "mask_adapter.", "detector.")
_COLOURS = {"clip_vision_model": "clip", "siglip_vision_model": "even", "dinov2": "imagenet", "dinov2_with_registers": "imagenet"}
_FILES = ("model.safetensors", "open_clip_model.safetensors")
"""How timm and OpenCLIP name an encoder's weights."""


def assemble(
    things: str,
    places: str,
    language: str,
    *,
    side: int = 384,
    segments: bool = True,
    detector: bool | Mapping[str, Any] = True,
    lora: int = 0,
    taught: bool = True,
    rescaled: bool = True,
    **fields: Any,
) -> tuple[PixelLLMForConditionalGeneration, PixelLLMProcessor]:
    """The model and its processor; `fields` are other ones of its configuration. Each part is a folder or a name on the hub.

    `things` is an EVA-02 as timm or OpenCLIP has it, or an encoder of transformers; SAM's encoder, codes of prompts and mask decoder are
    `places`; of BERT the first six layers are the prefix language model. All else begins as the model begins it, by torch's seed: the extractor,
    what brings visual tokens to the language model, the head for places, what asks the mask decoder, the `detector` (or its options),
    adapters of rank `lora`, and BERT's output. Not `taught`, BERT gives sizes and tokens alone. Not `rescaled`, EVA-02's rotation counts
    each patch as one step, as PixelLLM's release does and its weights were not trained. ValueError for a part that is of another kind.
    """
    check_places(things, places, language)
    seen, given, colours = _things(things, side)
    sam = _sam(places)
    given |= {name: value for name, value in sam_weights(sam).items() if segments or not name.startswith("mask_decoder.")}
    words, text, told = _language(language)
    new = _NEW
    if isinstance(words, BertModel):
        text, new = (text, (*new, "writer.head.")) if taught else ({}, (*new, "writer."))
    elif not taught:
        raise ValueError(f"{language} is a {words.config.model_type}, which is not begun untaught; a BERT is wanted.")
    if seen["model_type"] == "eva02_vision" and not rescaled:
        seen["rotary_side"] = None
    tokenizer = AutoTokenizer.from_pretrained(language)
    if not tokenizer.is_fast or len(tokenizer) > words.config.vocab_size:
        raise ValueError(f"the tokenizer of {language} is slow, or has more than the model's {words.config.vocab_size} tokens; a fast one is wanted.")
    if told["model_type"] == "bert":
        told |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    known = {
        "vision_config": seen,
        "vision_colours": colours,
        "place_config": sam.config.vision_config.to_dict(),
        "text_config": told,
        "side": side,
        "prompt_dim": sam.config.prompt_encoder_config.hidden_size,
        "segments": segments,
        "mask_mlp": sam.config.mask_decoder_config.mlp_dim,
        "mask_hidden": sam.config.mask_decoder_config.iou_head_hidden_dim,
        "detector": dict(detector) if isinstance(detector, Mapping) else {} if detector else None,
        "lora_rank": lora,
        "lora_alpha": 2.0 * lora,
    }
    with refusing_settings():
        config = PixelLLMConfig(**(known | fields))
    model: Any = begun_with(PixelLLMForConditionalGeneration, config, given | text, new)
    return model, PixelLLMProcessor.from_config(config, tokenizer)


def _things(place: str, side: int) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """The first tower: its configuration, its weights in the model, and the colours that it was trained with."""
    tower = "towers.towers.0."
    if not _is_of_transformers(place):
        config, weights, left = eva_parts(open_weights(_eva_file(place)))
        if left:
            print(f"Of {place}, these are no part of the encoder and left out: {listed(left)}.")
        return config.to_dict(), {f"{tower}{name}": value for name, value in weights.items()}, "clip"
    whole: Any = encoder(place)
    if side % whole.config.patch_size:
        raise ValueError(f"patches of {whole.config.patch_size} pixels do not divide a side of {side}; a multiple is wanted (--side).")
    return whole.config.to_dict(), under(f"{tower}backbone.", whole), _COLOURS[whole.config.model_type]


def _is_of_transformers(place: str) -> bool:
    try:
        return "model_type" in PreTrainedConfig.get_config_dict(place)[0]
    except OSError:
        return False


def _eva_file(place: str) -> Path:
    """The safetensors file of a folder, of a name on the hub, or itself."""
    if Path(place).is_file():
        return Path(place)
    for name in _FILES:
        if (Path(place) / name).is_file():
            return Path(place) / name
        if not Path(place).exists():
            with suppress(EntryNotFoundError):
                return Path(hf_hub_download(place, name))
    raise ValueError(f"{place} has neither an encoder of transformers nor {' or '.join(_FILES)}, or is out of reach; one of them is wanted.")


def _sam(place: str) -> SamModel:
    config: Any = AutoConfig.from_pretrained(place)
    if config.model_type != "sam":
        raise ValueError(f"{place} is a {config.model_type}; a SAM is wanted, whose encoder knows places and whose decoder draws masks.")
    decoder = config.mask_decoder_config
    if (decoder.num_attention_heads, decoder.attention_downsample_rate) != (8, 2):
        raise ValueError(f"the mask decoder of {place} has {decoder.num_attention_heads} heads; SAM's, with eight, is wanted.")
    found: SamModel = SamModel.from_pretrained(place, dtype=torch.float32)
    return found


def _language(place: str) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
    """The language model, its weights in a PixelLLM, and its configuration there."""
    config: Any = AutoConfig.from_pretrained(place)
    if config.model_type == "bert":
        bert = BertModel.from_pretrained(place, add_pooling_layer=False, dtype=torch.float32)
        layers = min(LAYERS, config.num_hidden_layers)
        return bert, bert_weights(bert, layers), config.to_dict() | {"num_hidden_layers": layers}
    if config.model_type == "t5":
        t5 = T5ForConditionalGeneration.from_pretrained(place, dtype=torch.float32)
        return t5, t5_weights(t5), config.to_dict()
    if config.is_encoder_decoder:
        raise ValueError(f"{place} is a {config.model_type}; a BERT, a T5 or a causal language model is wanted.")
    words: Any = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    return words, under("writer.model.", words), words.config.to_dict()


def main(
    things: Annotated[str, typer.Argument(help="EVA-02 as timm or OpenCLIP has it, or a CLIP, SigLIP or DINOv2: a folder or a name on the hub.")],
    places: Annotated[str, typer.Argument(help="A SAM of transformers.")],
    language: Annotated[str, typer.Argument(help="A BERT, a T5 or any causal language model, with a fast tokenizer.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    side: Annotated[int, typer.Option(min=1, help="Side of the square input in pixels.")] = 384,
    segments: Annotated[bool, typer.Option(help="Whether it draws masks.")] = True,
    detector: Annotated[bool, typer.Option(help="Whether it finds all things.")] = True,
    lora: Annotated[int, typer.Option(min=0, help="Rank of adapters, beside which the language model is frozen; 0: it learns itself.")] = 0,
    taught: Annotated[
        bool, typer.Option("--taught/--untaught", help="Whether the prefix language model begins with BERT's weights, or at random.")
    ] = True,
    rescaled: Annotated[
        bool, typer.Option("--rescaled/--unscaled", help="Whether EVA-02's rotation counts as its weights were trained, or as PixelLLM's release.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of what is new.")] = 0,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another field, like scored_places=True.")] = None,
) -> None:
    """Put a PixelLLM together of trained parts."""
    chosen = {"side": side, "segments": segments, "detector": detector, "lora": lora, "taught": taught, "rescaled": rescaled}
    put_together(out, seed, lambda: assemble(things, places, language, **(chosen | _fields(setting or []))))


def _fields(settings: Sequence[str]) -> dict[str, Any]:
    """Fields of the configuration from NAME=VALUE; ValueError for one that it does not have."""
    found: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in PixelLLMConfig.__dataclass_fields__:
            raise ValueError(f"--set {setting}: a PixelLLM has no {name!r}.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


if __name__ == "__main__":
    typer.run(main)
