"""PixelLLM as its original computes it, with foveal's parameters and none of its ways: the yardstick of `captions.py` and `extractor.py`."""

import torch
from torch import Tensor

from foveal.models.pixel_llm.writer import Writer
from foveal.vision import PromptExtractor

__all__ = ["plain_captions", "plain_tokens"]


def plain_captions(writer: Writer, visual: Tensor, words: int, *, grown: bool = False) -> tuple[Tensor, Tensor]:
    """The likeliest text of `words` words for each row and the states of its tokens, without a cache.

    At every step the visual tokens and the whole text, padded to its full length, are read anew and all logits of all places computed; behind the
    last, all is read once more for the states. With `grown`, what of the text is not there yet is not read.
    """
    ids = torch.full((len(visual), words + 1), writer.pad_token_id)
    ids[:, 0] = writer.bos_token_id
    for place in range(words):
        logits, _ = writer(visual, ids[:, : place + 1] if grown else ids)
        ids[:, place + 1] = logits[:, place].argmax(-1)
    return ids, writer(visual, ids)[1]


def plain_tokens(extractor: PromptExtractor, maps: Tensor, codes: Tensor, no_mask: Tensor, prompts: Tensor) -> Tensor:
    """The visual tokens of all prompts of the one image of `maps`, each from a copy of its map, which is projected for each."""
    count = len(prompts)
    copies, places = maps.expand(count, -1, -1, -1).flatten(1, 2).contiguous(), codes.flatten(0, 1).expand(count, -1, -1).contiguous()
    keys = extractor.map_proj(copies) + extractor.prompt_proj(no_mask)
    places = extractor.code_proj(places)
    tokens = torch.cat([extractor.queries.expand(count, -1, -1), extractor.prompt_proj(prompts)], dim=1)
    parts, asked = extractor.transformer, tokens
    for number, layer in enumerate(parts.layers):
        own = _attention(layer.among_tokens, tokens + asked * (number > 0), tokens + asked * (number > 0), tokens)
        tokens = layer.norm_1(tokens + own if number else own)
        tokens = layer.norm_2(tokens + _attention(layer.to_image, tokens + asked, keys + places, keys))
        tokens = layer.norm_3(tokens + layer.proj(torch.relu(layer.fc(tokens))))
        keys = layer.norm_4(keys + _attention(layer.to_tokens, keys + places, tokens + asked, tokens))
    tokens = parts.norm(tokens + _attention(parts.last, tokens + asked, keys + places, keys))
    outs = [tokens[:, query] @ weight.T + bias for query, (weight, bias) in enumerate(zip(extractor.out_weight, extractor.out_bias, strict=True))]
    return torch.stack(outs, dim=1)


def _attention(part: torch.nn.Module, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, k, v = (
        project(rows).unflatten(-1, (part.heads, -1)).transpose(1, 2)
        for project, rows in ((part.q_proj, queries), (part.k_proj, keys), (part.v_proj, values))
    )
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return part.out_proj((weights @ v).transpose(1, 2).flatten(2))
