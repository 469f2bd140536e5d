"""Laws of what the box decoder learns from."""

import math

import pytest
import torch
from torch import Tensor

from foveal.models.pixel_llm.detection import (
    LEVEL_RANGES,
    Samples,
    cell_targets,
    detection_loss,
    heat_losses,
    match_objects,
    reach_loss,
    region_losses,
    regions_found,
    sample_regions,
)
from foveal.vision import BoxDecoder
from foveal.vision.box_tensors import encode_boxes, have_extent
from foveal.vision.proposals import Cells

OBJECTS = torch.tensor([[[20.0, 30.0, 60.0, 52.0], [5.0, 60.0, 95.0, 110.0], [0.0, 0.0, 0.0, 0.0]], [[70.0, 4.0, 88.0, 20.0], [0.0] * 4, [0.0] * 4]])


def _decoder() -> BoxDecoder:
    torch.manual_seed(0)
    return BoxDecoder(6, width=8, up=4, layers=1, groups=2, hidden=(6, 5))


def _cells(decoder: BoxDecoder | None = None, images: int = 2) -> Cells:
    decoder = decoder or _decoder()
    torch.manual_seed(1)
    with torch.no_grad():
        return decoder.proposal_head(*decoder.levels(torch.randn(images, 8, 8, 6), (112, 112)))


def test_a_thing_is_a_peak_in_the_cell_of_its_centre_on_the_levels_of_its_size() -> None:
    cells = _cells()
    targets = cell_targets(cells, OBJECTS)
    for image, objects in enumerate(OBJECTS):
        wanted = set()
        for x0, y0, x1, y1 in objects[have_extent(objects)].tolist():
            half = math.hypot(x1 - x0, y1 - y0) / 2
            for level, (low, high) in enumerate(LEVEL_RANGES):
                away = (cells.centres - torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2])).abs().amax(1).masked_fill(cells.level != level, torch.inf)
                wanted |= {int(away.argmin())} if low <= half <= high else set()
        assert set(targets.peaks[image].nonzero().flatten().tolist()) == wanted
    assert (targets.heat[targets.peaks] == 1).all() and (targets.heat[~targets.peaks] < 1).all()


def test_a_cell_that_shall_say_a_box_says_one_that_is_there() -> None:
    cells = _cells()
    targets = cell_targets(cells, OBJECTS)
    said = Cells(cells.heat, targets.reach, cells.centres, cells.steps, cells.level).boxes
    for image in range(2):
        for box in said[image][targets.reaching[image]]:
            assert (box - OBJECTS[image]).abs().amax(1).min() < 1e-3
    assert (targets.peaks & ~targets.reaching).sum() == 0  # centres lie inside their boxes here
    assert not targets.reach[~targets.reaching].any()
    torch.testing.assert_close(reach_loss(targets.reach, targets), torch.tensor(0.0), atol=1e-5, rtol=0)


def test_padding_is_no_thing() -> None:
    cells = _cells()
    more = torch.cat([torch.zeros(2, 2, 4), OBJECTS, torch.zeros(2, 5, 4)], dim=1)
    for name, value in vars(cell_targets(cells, more)).items():
        assert torch.equal(value, getattr(cell_targets(cells, OBJECTS), name)), name
    nothing = cell_targets(cells, torch.zeros(2, 1, 4))
    assert not nothing.heat.any() and not nothing.peaks.any() and not nothing.reaching.any()


def test_a_thing_beyond_the_last_cell_is_learnt_by_the_last_cell() -> None:
    decoder = _decoder()
    with torch.no_grad():
        cells = decoder.proposal_head(*decoder.levels(torch.randn(1, 9, 9, 6), (126, 126)))
    targets = cell_targets(cells, torch.tensor([[[60.0, 60.0, 180.0, 180.0]]]))
    assert targets.peaks[0].sum() == 1 and cells.centres[targets.peaks[0]].tolist() == [[98.0, 98.0]]


def test_heat_is_cheapest_where_it_should_be() -> None:
    targets = cell_targets(_cells(), OBJECTS)
    right = torch.where(targets.peaks, 9.0, -9.0)
    best, worst = (sum(heat_losses(heat, targets)) for heat in (right, -right))
    assert best < 1e-3 < worst
    found, imagined = heat_losses(torch.full_like(right, -4.6), targets)
    assert found > imagined > 0


def test_regions_that_show_a_thing_come_first_and_are_a_quarter_at_most() -> None:
    torch.manual_seed(0)
    near = OBJECTS[:, :1] + torch.randn(2, 40, 4)
    far = torch.rand(2, 40, 2) * 20
    proposals = torch.cat([near, torch.cat([far, far + 3], dim=-1)], dim=1)[:, torch.randperm(80)]
    samples = sample_regions(proposals, OBJECTS, 32)
    assert samples.shows.sum(1).tolist() == [8, 8] and samples.shows[:, :8].all() and have_extent(samples.boxes).all()
    index, shows = match_objects(samples.boxes, OBJECTS)
    assert torch.equal(index, samples.index) and torch.equal(shows, samples.shows)
    known = torch.cat([proposals, OBJECTS], dim=1)
    rows = (samples.boxes[:, :, None] == known[:, None]).all(-1).float().argmax(-1)
    for kind in (samples.shows, ~samples.shows):
        assert all((rows[image][kind[image]].diff() > 0).all() for image in range(2))


def test_what_is_drawn_depends_on_the_generator_alone() -> None:
    corner = torch.rand(1, 300, 2) * 90
    proposals = torch.cat([corner, corner + 5], dim=-1)
    drawn = [sample_regions(proposals, OBJECTS[:1], 50, generator=torch.Generator().manual_seed(seed)).boxes for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_too_few_regions_are_filled_up_with_none() -> None:
    samples = sample_regions(torch.rand(2, 3, 4).cumsum(-1), OBJECTS, 20)
    assert samples.boxes.shape == (2, 20, 4) and have_extent(samples.boxes).sum(1).tolist() == [5, 4]
    assert not samples.boxes[~have_extent(samples.boxes)].any() and not samples.shows[~have_extent(samples.boxes)].any()


def test_filler_costs_nothing() -> None:
    torch.manual_seed(0)
    samples = sample_regions(OBJECTS + torch.randn(2, 3, 4), OBJECTS, 12)
    logits, deltas = torch.randn(2, 12, 2), torch.randn(2, 12, 4)
    lost = region_losses(logits, deltas, samples, OBJECTS)
    filler = ~have_extent(samples.boxes)
    other = region_losses(logits.masked_fill(filler[..., None], 7.0), deltas.masked_fill(filler[..., None], 7.0), samples, OBJECTS)
    torch.testing.assert_close(lost, other)


def test_regions_mended_onto_their_things_cost_nothing() -> None:
    samples = Samples(OBJECTS[:, :1] + 2.0, torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.bool))
    deltas = encode_boxes(OBJECTS[:, :1], samples.boxes)
    classes, mended = region_losses(torch.tensor([[[-20.0, 20.0]]] * 2), deltas, samples, OBJECTS)
    assert classes < 1e-6 and mended < 1e-5


def test_the_overlap_that_shows_a_thing_is_the_threshold_or_more() -> None:
    regions = torch.tensor([[[0.0, 0.0, 10.0, 5.0], [0.0, 0.0, 10.0, 4.9]]])
    assert match_objects(regions, torch.tensor([[[0.0, 0.0, 10.0, 10.0]]]), 0.5)[1].tolist() == [[True, False]]


@pytest.mark.parametrize("objects", [OBJECTS, torch.zeros(2, 3, 4), torch.zeros(2, 0, 4)], ids=["some", "padding", "none"])
def test_the_whole_loss_is_finite_and_reaches_every_weight(objects: Tensor) -> None:
    decoder = _decoder()
    lost = detection_loss(decoder, torch.randn(2, 8, 8, 6), (112, 112), objects, peaks=50, proposals=30, samples=24)
    lost.total.backward()
    assert lost.total.isfinite() and lost.samples.boxes.shape == (2, 24, 4)
    assert all(value.grad is not None and value.grad.isfinite().all() for value in decoder.parameters())


def test_it_learns_to_find_one_thing() -> None:
    decoder, maps = _decoder(), torch.randn(1, 8, 8, 6)
    steps = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(0)
    for _ in range(40):
        steps.zero_grad()
        detection_loss(decoder, maps, (112, 112), OBJECTS[:1, :1], generator=draw, peaks=60, proposals=30, samples=32).total.backward()
        steps.step()
    boxes, scores = decoder(maps, (112, 112))
    assert scores[0, 0] > 0.5 and match_objects(boxes[:, :1], OBJECTS[:1, :1], 0.7)[1].all()


def test_half_precision_learns() -> None:
    decoder = _decoder().bfloat16()
    lost = detection_loss(decoder, torch.randn(2, 8, 8, 6, dtype=torch.bfloat16), (112, 112), OBJECTS, peaks=50, proposals=30, samples=24)
    lost.total.backward()
    assert lost.total.dtype == torch.float32 and lost.total.isfinite()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in decoder.parameters())


def test_words_are_learnt_of_regions_that_show_their_things() -> None:
    things = torch.tensor([[[0.0, 0, 40, 40], [60, 60, 90, 90], [0, 0, 0, 0]], [[10, 10, 50, 50], [0, 0, 0, 0], [0, 0, 0, 0]]])
    luck = torch.Generator().manual_seed(0)
    near = things[:, :, None] + torch.rand(2, 3, 50, 4, generator=luck) * 6 * have_extent(things)[..., None, None]
    samples = sample_regions(near.flatten(1, 2), things, 64, share=0.5, generator=luck)
    rows = torch.cat([things[0, 1:2].expand(40, -1), things[1, :1].expand(40, -1), torch.tensor([[0.0, 0, 0, 0], [0, 0, 96, 96], [0, 0, 40, 40]])])
    image = torch.tensor([0] * 40 + [1] * 40 + [0, 0, -1])
    found = regions_found(rows, image, things, samples, generator=luck)
    assert torch.equal(found[80:], rows[80:]), "of what is no box, no thing, or in a picture that is not searched, nothing is changed"
    index, shows = match_objects(found[:80].view(2, 40, 4), things)
    assert shows.all() and index[0].eq(1).all() and index[1].eq(0).all()
    assert all(len(some.unique(dim=0)) > 5 for some in (found[:40], found[40:80]))
    assert torch.equal(regions_found(rows, image, things[:, :0], samples), rows)
