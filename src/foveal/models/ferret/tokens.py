"""The tokenizer that published Ferret weights were trained with, made from the sentencepiece file that comes with them."""

from collections.abc import Mapping, Sequence
from os import PathLike

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

__all__ = ["legacy_tokenizer"]


def legacy_tokenizer(model_file: str | PathLike[str], added_tokens: Sequence[str] = (), context_length: int = 2048) -> PreTrainedTokenizerFast:
    """The tokenizer of a Llama sentencepiece file as of the time Ferret was trained; padded with the unknown token, on the right.

    What stands after an added token begins as if a blank stood before it (the "legacy" way). Needs the `sentencepiece` package;
    the tokenizer it makes does not. ValueError for a sentencepiece model that is not of pairs of bytes (Llama's, Vicuna's).
    """
    from sentencepiece import SentencePieceProcessor  # here: only conversion needs the package

    source = SentencePieceProcessor(model_file=str(model_file))
    pieces = {source.id_to_piece(token): token for token in range(source.vocab_size())}
    scores = {piece: source.get_score(token) for piece, token in pieces.items()}
    special = [piece for piece, token in pieces.items() if source.is_control(token) or source.is_unknown(token)]
    if source.unk_id() < 0 or source.bos_id() < 0 or source.eos_id() < 0:
        raise ValueError(f"{model_file} lacks an unknown, a beginning or an end token; it wants a Llama sentencepiece model")
    unknown, begin, end = (source.id_to_piece(token) for token in (source.unk_id(), source.bos_id(), source.eos_id()))
    bytes_known = "<0x00>" in pieces
    words = Tokenizer(BPE(pieces, _merges(pieces, scores), unk_token=unknown, fuse_unk=True, byte_fallback=bytes_known))
    words.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    words.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in [*special, *added_tokens]])
    words.post_processor = processors.TemplateProcessing(single=[begin, "$A"], pair=[begin, "$A", "$B"], special_tokens=[(begin, pieces[begin])])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=begin,
        eos_token=end,
        unk_token=unknown,
        pad_token=unknown,
        padding_side="right",
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )


def _merges(pieces: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Pairs of pieces that make a piece, the best score first: sentencepiece keeps the scores, the tokenizer wants the pairs."""
    pairs = [
        (-scores[whole], pieces[whole[:cut]], pieces[whole[cut:]], whole[:cut], whole[cut:])
        for whole in pieces
        for cut in range(1, len(whole))
        if whole[:cut] in pieces and whole[cut:] in pieces
    ]
    return [(left, right) for *_, left, right in sorted(pairs)]
