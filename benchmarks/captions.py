"""CPU seconds of PixelLLM's captions beside the original's loop without a cache, and of many regions: `python benchmarks/captions.py`."""

import argparse

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, PreTrainedTokenizerFast

from foveal.geometry import Box
from foveal.models import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor
from foveal.models.pixel_llm.decoding import write
from foveal.models.pixel_llm.language import build_writer
from foveal.session import Session
from plain_pixel_llm import plain_captions
from ways import print_ways

__all__ = ["main"]

WORDS, SLOTS, DIM = 30522, 32, 1024
"""Of the released model: its vocabulary, visual tokens of a prompt, and their width."""
TEXT = {"vocab_size": WORDS, "num_hidden_layers": 6, "max_position_embeddings": 1024, "bos_token_id": 101, "eos_token_id": 102}
TOWERS = {
    "vision_config": {"model_type": "eva02_vision", "num_hidden_layers": 2},
    "place_config": {"model_type": "sam_vision_model", "hidden_size": 1280, "num_attention_heads": 16, "num_hidden_layers": 2, "mlp_dim": 5120},
}
"""The released widths, but 2 of 24 and of 32 layers."""


def main() -> None:
    """Prints two tables: captions of one length, and descriptions of a hundred boxes of one image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=4, help="captions that are written at once")
    parser.add_argument("--words", type=int, default=40, help="words of each caption")
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    _print_captions(given.captions, given.words, given.runs)
    _print_regions(given.regions, given.runs)


def _print_captions(rows: int, words: int, runs: int) -> None:
    """The prefix language model at its real size: six layers of 768, 32 visual tokens. No caption ends early."""
    writer, visual = build_writer(BertConfig(**TEXT), DIM).eval(), torch.randn(rows, SLOTS, DIM)
    writer.eos_token_id = -1
    with torch.inference_mode():
        ours, (ids, states) = write(writer, visual, limit=words), plain_captions(writer, visual, words)
    assert torch.equal(ours.ids, ids), "the two write different captions"
    torch.testing.assert_close(ours.features[:, : states.shape[1]], states, atol=1e-3, rtol=1e-3)
    ways = {
        "as in the original: all read anew for each word": (1, lambda: plain_captions(writer, visual, words)),
        "without a cache, what is not there yet left out": (1, lambda: plain_captions(writer, visual, words, grown=True)),
        "foveal": (1, lambda: write(writer, visual, limit=words)),
    }
    print_ways(f"{rows} captions of {words} words, six layers of 768, {SLOTS} visual tokens, float32", ways, runs)


def _print_regions(count: int, runs: int) -> None:
    """Descriptions of eight words each of boxes of one image: each from its pixels (two of them are, for all cost the same), and of a scene."""
    session, image = _session(), Image.effect_noise((640, 480), 80).convert("RGB")
    corners = torch.rand(count, 2) * 0.6
    boxes = [Box(x, y, x + 0.3, y + 0.2) for x, y in corners.tolist()]
    asked = {"max_new_tokens": 8}
    ways = {
        "each from its pixels": (count / 2, lambda: [session.look(image).describe(box, **asked) for box in boxes[:2]]),
        "one scene, one by one": (1, lambda: [scene.describe(box, **asked) for scene in [session.look(image)] for box in boxes]),
        "one scene, together": (1, lambda: session.look(image).describe(boxes, **asked)),
    }
    session.look(image).describe(boxes[:2], **asked)
    print_ways(f"{count} regions of one image described in 8 words, released widths, towers of 2 layers, float32", ways, runs)


def _session() -> Session:
    """A PixelLLM of random weights over a vocabulary of made-up words."""
    words = Tokenizer(models.WordLevel({"[PAD]": 0, **{f"w{number}": number for number in range(1, WORDS)}}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
    model = PixelLLMForConditionalGeneration(PixelLLMConfig(text_config={"model_type": "bert", **TEXT}, **TOWERS)).eval()
    model.writer.eos_token_id = -1
    return Session(model, PixelLLMProcessor.from_config(model.config, tokenizer), "PixelLLM with short towers")


if __name__ == "__main__":
    main()
