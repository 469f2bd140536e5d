"""Laws of the box decoder: where its cells lie, what it proposes and what it keeps."""

from pathlib import Path

import pytest
import torch

from foveal.vision import NOMINAL_STRIDES, BoxDecoder, ProposalHead, RegionHead
from foveal.vision.proposals import Cells, choose_regions, find_peaks, propose

SMALL = {"width": 8, "up": 4, "layers": 2, "groups": 2, "hidden": (6, 5)}


def _decoder(**options: object) -> BoxDecoder:
    torch.manual_seed(0)
    decoder = BoxDecoder(6, **(SMALL | {"peaks": 40, "proposals": 20, "detections": 9} | options)).eval()  # type: ignore[arg-type]
    for name, value in decoder.named_parameters():  # enough to tell one place from another
        if name.endswith(("heat.weight", "reach.weight", "classes.weight", "deltas.weight")):
            torch.nn.init.normal_(value, std=0.5)
    return decoder


def _cells(decoder: BoxDecoder, maps: torch.Tensor, size: tuple[int, int]) -> Cells:
    with torch.no_grad():
        return decoder.proposal_head(*decoder.levels(maps, size))


def test_a_batch_is_detected_in_as_each_alone() -> None:
    decoder, maps = _decoder(), torch.randn(3, 8, 8, 6)
    boxes, scores = decoder(maps, (112, 112))
    assert boxes.shape == (3, 9, 4) and (scores > 0).any(1).all()
    for image in range(3):
        alone = decoder(maps[image : image + 1], (112, 112))
        torch.testing.assert_close(boxes[image : image + 1], alone[0], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(scores[image : image + 1], alone[1], atol=1e-5, rtol=1e-4)


def test_detections_lie_within_the_picture_best_first_zeros_behind() -> None:
    boxes, scores = _decoder(detections=30)(torch.randn(2, 6, 8, 6), (120, 90))
    assert (boxes >= 0).all() and (boxes[..., 0::2] <= 120).all() and (boxes[..., 1::2] <= 90).all()
    assert (scores.diff(dim=1) <= 0).all() and not boxes[scores == 0].any() and (scores == 0).any()


def test_cells_cover_the_picture_evenly_on_every_level() -> None:
    cells = _cells(_decoder(), torch.randn(1, 27, 27, 6), (384, 384))
    for level, cover in ((0, 384.0), (1, 384.0), (2, 26 / 27 * 384)):  # halving 27 cells leaves one out
        own = cells.level == level
        centres, step = cells.centres[own], cells.steps[own][0]
        torch.testing.assert_close(centres.amin(0), step / 2)
        torch.testing.assert_close(centres.amax(0), cover - step / 2)
    assert cells.level.bincount().tolist() == [54 * 54, 27 * 27, 13 * 13, 49, 16]


def test_the_originals_strides_are_a_switch() -> None:
    cells = _cells(_decoder(strides=NOMINAL_STRIDES), torch.randn(1, 27, 27, 6), (384, 384))
    assert cells.steps.unique().tolist() == list(NOMINAL_STRIDES)
    assert cells.centres[0].tolist() == [4.0, 4.0] and cells.centres[1].tolist() == [12.0, 4.0]
    with pytest.raises(ValueError, match="3 strides were given"):
        _decoder(strides=(8, 16, 32))


def test_pictures_need_not_be_square() -> None:
    cells = _cells(_decoder(), torch.randn(1, 6, 10, 6), (200, 90))
    assert cells.steps[0].tolist() == [10.0, 7.5]
    before, after = cells.centres - cells.boxes[0, :, :2], cells.boxes[0, :, 2:] - cells.centres
    torch.testing.assert_close(torch.cat([before, after], 1), cells.reach[0] * cells.steps.repeat(1, 2), atol=1e-4, rtol=1e-4)


def test_a_head_that_has_learnt_nothing_expects_little_and_reaches_eight_strides() -> None:
    head = ProposalHead(8, layers=1, groups=2, levels=1)
    cells = head([torch.zeros(1, 8, 3, 3)], torch.tensor([[4.0, 4.0]]))
    torch.testing.assert_close(cells.heat.sigmoid(), torch.full((1, 9), 0.0099518), atol=1e-5, rtol=0)
    torch.testing.assert_close(cells.boxes[0, 4], torch.tensor([-26.0, -26.0, 38.0, 38.0]))


def test_proposals_are_the_hottest_cells_that_no_hotter_one_covers() -> None:
    decoder = _decoder()
    cells = _cells(decoder, torch.randn(2, 8, 8, 6), (112, 112))
    boxes, scores = find_peaks(cells, 10**6)
    assert boxes.shape[1] == cells.heat.shape[1] - 1
    kept, sure = propose(cells, torch.tensor([[112.0, 112.0]]), peaks=40, keep=20)
    torch.testing.assert_close(sure[:, 0], scores[:, 0])
    torch.testing.assert_close(kept[:, 0], boxes[:, 0].clamp(0, 112))


def test_both_looks_have_a_say_in_a_score() -> None:
    boxes = torch.tensor([[[0.0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49]]])
    logits, scores = torch.tensor([[[0.0, 0.0], [0.0, 40.0], [0.0, -9.0]]]), torch.tensor([[0.5, 0.25, 0.9]])
    found = choose_regions(logits, torch.zeros(1, 3, 4), boxes, scores, torch.tensor([[100.0, 100.0]]), keep=3)
    assert found.row.tolist() == [[0, 1, -1]] and found.scores[0].tolist() == [0.5, 0.5, 0.0]
    torch.testing.assert_close(found.boxes[0, :2], boxes[0, :2])


def test_half_precision_detects_in_whole_pixels_and_more() -> None:
    decoder, maps = _decoder(), torch.randn(1, 8, 8, 6)
    whole, half = _cells(decoder, maps, (112, 112)), _cells(decoder.bfloat16(), maps.bfloat16(), (112, 112))
    assert half.heat.dtype == half.boxes.dtype == torch.float32
    torch.testing.assert_close(half.heat, whole.heat, atol=0.3, rtol=0.1)
    boxes, scores = decoder(maps.bfloat16(), (112, 112))
    assert boxes.dtype == scores.dtype == torch.float32 and scores.isfinite().all()


def test_a_saved_decoder_detects_the_same(tmp_path: Path) -> None:
    decoder, maps = _decoder(), torch.randn(1, 8, 8, 6)
    torch.save(decoder.state_dict(), tmp_path / "weights.pt")
    again = BoxDecoder(6, **SMALL, peaks=40, proposals=20, detections=9)
    again.load_state_dict(torch.load(tmp_path / "weights.pt"))
    torch.testing.assert_close(again(maps, (112, 112)), decoder(maps, (112, 112)))


def test_reset_starts_everything_again() -> None:
    decoder = BoxDecoder(6, **SMALL)
    for value in decoder.parameters():
        torch.nn.init.constant_(value, 3.0)
    decoder.reset()
    norms = {f"{name}.weight" for name, part in decoder.named_modules() if isinstance(part, torch.nn.LayerNorm | torch.nn.GroupNorm)}
    norms |= {name.replace("weight", "bias") for name in norms}
    assert not [name for name, value in decoder.named_parameters() if name not in norms and (value == 3.0).any()]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        ProposalHead(8, groups=3)
    with pytest.raises(ValueError, match="1 levels were given"):
        ProposalHead(8, groups=2, levels=2)([torch.zeros(1, 8, 2, 2)], torch.ones(1, 2))
    assert RegionHead(2, hidden=[3, 4])(torch.zeros(1, 0, 7, 7, 2))[0].shape == (1, 0, 2)
