"""Positions mean the same place of the image whatever the grid."""

import torch

from foveal.vision import RowColumnEmbedding


def test_its_own_grid_reads_the_tables_as_they_are() -> None:
    positions = RowColumnEmbedding(width=4, cells=6)
    assert torch.equal(positions(6, 6), positions.rows[:, None] + positions.columns[None])


def test_a_grid_three_times_finer_has_the_same_vectors_at_the_same_centres() -> None:
    positions = RowColumnEmbedding(width=4, cells=6)
    assert torch.allclose(positions(18, 6)[1::3], positions(6, 6), atol=1e-6)


def test_a_coarser_grid_reads_between_the_cells() -> None:
    positions = RowColumnEmbedding(width=4, cells=6)
    rows = positions.rows.view(3, 2, 4).mean(1)
    assert torch.allclose(positions(3, 6), rows[:, None] + positions.columns[None], atol=1e-6)


def test_every_cell_of_the_tables_learns() -> None:
    positions = RowColumnEmbedding(width=4, cells=6)
    positions(7, 12).square().sum().backward()
    assert all((table.grad.abs().sum(1) > 0).all() for table in (positions.rows, positions.columns))
