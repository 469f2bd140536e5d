"""How texts are written: as without a cache, each token with its state, batches as each row alone."""

from itertools import product

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, LlamaConfig, T5Config

from foveal.models.pixel_llm.decoding import _chosen, search, write
from foveal.models.pixel_llm.language import build_writer
from foveal.models.pixel_llm.writer import Writer

DIM, LIMIT = 6, 8


def _writer(kind: str = "bert", words: int = 12) -> Writer:
    """A writer whose texts end here and there."""
    torch.manual_seed(3)
    small = {"vocab_size": words, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    small |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    configs = {
        "bert": lambda: BertConfig(**small, max_position_embeddings=16),
        "t5": lambda: T5Config(vocab_size=words, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"),
        "llama": lambda: LlamaConfig(**small),
    }
    writer = build_writer(configs[kind](), DIM).eval()
    with torch.no_grad():
        for value in writer.parameters():
            if value.ndim > 1:
                value.normal_(std=0.6)
    return writer


def _visual(rows: int = 6) -> Tensor:
    return torch.randn(rows, 4, DIM, generator=torch.Generator().manual_seed(7))


def _context(rows: int = 6) -> Tensor:
    context = torch.randint(4, 12, (rows, 3), generator=torch.Generator().manual_seed(8))
    context[0, 1:] = 0
    return context


def _spoken(writer: Writer, ids: Tensor) -> Tensor:
    """Which tokens were read: all but the end and the padding after it."""
    over = (ids[..., 1:] == writer.eos_token_id).cumsum(-1) > 0
    return torch.cat([torch.ones_like(over[..., :1]), ~over], dim=-1)


every_kind = pytest.mark.parametrize("kind", ["bert", "t5", "llama"])


@every_kind
@torch.no_grad()
def test_the_likeliest_text_is_that_of_a_loop_without_a_cache(kind: str) -> None:
    writer, visual, context = _writer(kind), _visual(), _context()
    found = write(writer, visual, context, limit=LIMIT)
    ids = torch.full((len(visual), 1), writer.bos_token_id)
    total, open_rows = torch.zeros(len(visual)), torch.ones(len(visual), dtype=torch.bool)
    for _ in range(LIMIT):
        best = writer(visual, ids, context)[0][:, -1].log_softmax(-1).max(-1)
        total += best.values * open_rows
        ids = torch.cat([ids, best.indices.where(open_rows, torch.tensor(0))[:, None]], dim=1)
        open_rows &= best.indices != writer.eos_token_id
    assert found.ids.tolist() == ids[:, : found.ids.shape[1]].tolist()
    assert found.ended.tolist() == (~open_rows).tolist()
    words = _spoken(writer, ids).sum(1) - 1
    torch.testing.assert_close(found.scores, total / words.clamp(min=1), atol=1e-5, rtol=1e-4)


@every_kind
@pytest.mark.parametrize("way", ["likeliest", "drawn", "beams"])
@torch.no_grad()
def test_every_token_comes_with_the_state_that_a_second_pass_would_give(kind: str, way: str) -> None:
    writer, visual, context = _writer(kind), _visual(), _context()
    if way == "beams":
        found = search(writer, visual, context, limit=LIMIT, beams=3)
        beams = [(found.of_beam(number), found.scores[:, number] > -1e5) for number in range(3)]
    else:
        beams = [(write(writer, visual, context, limit=LIMIT, temperature=1.0 if way == "drawn" else 0.0), torch.ones(6, dtype=torch.bool))]
    for told, there in beams:
        wanted = writer.read(visual, told.ids, context)
        spoken = _spoken(writer, told.ids) & there[:, None]
        torch.testing.assert_close(told.features[spoken], wanted[spoken], atol=1e-5, rtol=1e-4)
        assert not told.features[~spoken].any()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@torch.no_grad()
def test_a_batch_says_what_each_row_says_alone(temperature: float) -> None:
    writer, visual, context = _writer(), _visual(), _context()
    together = write(writer, visual, context, limit=LIMIT, temperature=temperature, seed=5)
    assert len(set(together.ids.count_nonzero(1).tolist())) > 1, "texts of several lengths were wanted"
    for row in range(len(visual)):
        alone = write(writer, visual[row : row + 1], context[row : row + 1], limit=LIMIT, temperature=temperature, seed=5)
        length = alone.ids.shape[1]
        assert alone.ids[0].tolist() == together.ids[row, :length].tolist() and not together.ids[row, length:].any()
        torch.testing.assert_close(alone.scores[0], together.scores[row], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_beams_of_a_batch_are_those_of_each_row_alone() -> None:
    writer, visual, context = _writer(), _visual(), _context()
    together = search(writer, visual, context, limit=LIMIT)
    for row in range(len(visual)):
        alone = search(writer, visual[row : row + 1], context[row : row + 1], limit=LIMIT)
        there = alone.scores[0] > -1e5
        torch.testing.assert_close(alone.scores[0][there], together.scores[row][there], atol=1e-5, rtol=1e-4)
        assert alone.ids[0, there].tolist() == together.ids[row, there, : alone.ids.shape[-1]].tolist()


@torch.no_grad()
def test_a_row_that_has_ended_is_no_longer_read(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, read = _writer(), []
    step = writer.step
    monkeypatch.setattr(writer, "step", lambda draft, ids: (read.append(len(ids)), step(draft, ids))[1])
    found = write(writer, _visual(), _context(), limit=LIMIT)
    spoken = _spoken(writer, found.ids)
    assert read == [count for count in spoken.sum(0).tolist() if count]
    assert read[-1] < read[0]


@torch.no_grad()
def test_a_seed_draws_the_same_and_another_seed_something_else() -> None:
    writer, visual = _writer(), _visual()
    first, again, other = (write(writer, visual, limit=LIMIT, temperature=1.5, seed=seed).ids.tolist() for seed in (1, 1, 2))
    assert first == again != other
    cold = write(writer, visual, limit=LIMIT, temperature=1e-4, seed=1)
    assert cold.ids.tolist() == write(writer, visual, limit=LIMIT).ids.tolist()


@torch.no_grad()
def test_draws_are_as_likely_as_the_model_says() -> None:
    logits, random = torch.tensor([[0.0, 2.0, 1.0, -1.0]]), torch.Generator().manual_seed(0)
    draws = torch.cat([_chosen(logits, None, 0.5, random)[0] for _ in range(4000)])
    assert (draws.bincount(minlength=4) / 4000 - (logits[0] / 0.5).softmax(-1)).abs().max() < 0.02


@torch.no_grad()
def test_a_token_follows_itself_unless_that_is_forbidden() -> None:
    writer, visual = _writer(), _visual()
    writer.head.bias[7] = 100.0
    assert write(writer, visual, limit=3).ids.tolist() == [[2, 7, 7, 7]] * len(visual)
    ids = write(writer, visual, limit=LIMIT, forbid_repeats=True).ids
    assert not ((ids[:, 1:] == ids[:, :-1]) & _spoken(writer, ids)[:, 1:]).any()


@torch.no_grad()
def test_every_token_is_told_as_it_is_read() -> None:
    writer, told = _writer(), []
    found = write(writer, _visual(), limit=LIMIT, on_token=lambda ids, features: told.append((ids, features)))
    spoken = _spoken(writer, found.ids)
    for place, (ids, features) in enumerate(told, 1):
        assert ids.tolist() == found.ids[:, place].where(spoken[:, place], torch.tensor(0)).tolist()
        torch.testing.assert_close(features, found.features[:, place])
    assert len(told) == int(spoken.sum(1).max()) - 1


@torch.no_grad()
def test_beams_enough_for_all_texts_find_the_best_of_all() -> None:
    writer, visual, limit = _writer(words=6), _visual(2), 3
    found = search(writer, visual, limit=limit, beams=6**limit, per_beam=6)
    texts = [text for length in range(limit) for text in product([0, 1, 2, 4, 5], repeat=length)]
    for row in range(2):
        scored = []
        for text in texts:
            ids = torch.tensor([[2, *text, 3]])
            logits, _ = writer(visual[row : row + 1], ids)
            log_prob = logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum().item()
            scored.append((log_prob / ((5 + len(text) + 1) / 6) ** 0.6, [2, *text, 3]))
        scored.sort(reverse=True)
        assert [told[: len(best)] for told, (_, best) in zip(found.ids[row].tolist(), scored, strict=False)] == [best for _, best in scored]
        torch.testing.assert_close(found.scores[row, : len(scored)], torch.tensor([score for score, _ in scored]), atol=1e-4, rtol=1e-4)
        assert found.ended[row, : len(scored)].all()


@torch.no_grad()
def test_without_an_end_the_live_beams_are_given_with_their_plain_score() -> None:
    writer, visual = _writer(), _visual(2)
    writer.head.bias[3] = -100.0
    found = search(writer, visual, limit=4, beams=2)
    assert not found.ended.any() and found.ids.shape == (2, 2, 5)
    for number in range(2):
        told = found.of_beam(number)
        log_probs = writer(visual, told.ids)[0][:, :-1].log_softmax(-1).gather(2, told.ids[:, 1:, None])[..., 0]
        torch.testing.assert_close(told.scores, log_probs.sum(1), atol=1e-5, rtol=1e-4)


def test_no_rows_make_no_texts() -> None:
    writer = _writer()
    for found in (write(writer, _visual(0), limit=3), search(writer, _visual(0), limit=3)):
        assert len(found.ids) == len(found.features) == len(found.scores) == 0


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    writer, visual = _writer(), _visual()
    with pytest.raises(ValueError, match="a limit of 0 tokens"):
        write(writer, visual, limit=0)
    with pytest.raises(ValueError, match="a temperature of -1"):
        write(writer, visual, limit=1, temperature=-1.0)
    with pytest.raises(ValueError, match="0 beams"):
        search(writer, visual, limit=1, beams=0)
