"""Which language model writes: what its configuration says."""

from collections.abc import Sequence

from transformers import BertConfig, PreTrainedConfig, T5Config

from foveal.models.lora import add_lora
from foveal.models.pixel_llm.causal import CausalWriter
from foveal.models.pixel_llm.encoder_decoder import EncoderDecoderWriter
from foveal.models.pixel_llm.prefix import PrefixWriter
from foveal.models.pixel_llm.writer import Writer

__all__ = ["build_writer"]


def build_writer(
    config: PreTrainedConfig,
    dim: int | None,
    *,
    uniform_rows: bool = False,
    lora_rank: int = 0,
    lora_alpha: float = 64.0,
    lora_targets: Sequence[str] = (),
) -> Writer:
    """BERT's configuration makes the prefix language model, T5's the encoder and decoder, any other a causal language model of transformers.

    With a `lora_rank` the language model is frozen, and adapters of that rank stand beside the layers named `lora_targets` (none: queries
    and values); what brings visual tokens to its width learns. ValueError for an encoder and decoder other than T5, and where no layer has
    such a name.

    >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, eos_token_id=3)
    >>> writer = build_writer(config, dim=6, lora_rank=2)
    >>> sorted({name.split(".")[0] for name, value in writer.named_parameters() if value.requires_grad})
    ['layers', 'visual_projection']
    """
    writer: Writer
    if isinstance(config, BertConfig):
        writer = PrefixWriter(config, dim)
    elif isinstance(config, T5Config):
        writer = EncoderDecoderWriter(config, dim, uniform_rows)
    elif config.is_encoder_decoder:
        raise ValueError(f"{config.model_type} was given for a language model; BERT, T5 or a causal language model is wanted.")
    else:
        writer = CausalWriter(config, dim)
    if lora_rank:
        add_lora(writer, lora_rank, lora_alpha, tuple(lora_targets) or writer.lora_targets)
        writer.visual_projection.requires_grad_(True)
    return writer
