"""Channels that NVIDIA's library gives to sends and all-to-alls, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.collectives.library_point_to_point import channel_count

MIB = 2**20


@pytest.mark.parametrize(
    ("ranks", "each_byte", "channels"),
    [
        # By hand: 32 channels; a power of two to each peer, and no more rounds than are needed.
        (8, 1024, 32), (16, 1024, 32), (18, 1024, 18), (64, 1024, 32), (72, 1024, 24), (33, 1024, 16.5), (12, 1024, 24),
        (8, 512 * 1024, 32), (8, 512 * 1024 + 1, 32), (18, 512 * 1024 + 1, 18), (72, 512 * 1024 + 1, 24),
        # A second channel above 16 MiB, four above 32 MiB.
        (18, 16 * MIB, 18), (18, 16 * MIB + 1, 18), (18, 32 * MIB + 1, 24), (18, 64 * MIB + 1, 28.8),
        (72, 16 * MIB, 24), (72, 16 * MIB + 1, 28.8), (72, 512 * MIB, 32), (8, 512 * MIB, 32), (64, 16 * MIB + 1, 32),
    ],
)  # fmt: skip
def test_channels_of_an_all_to_all_by_hand(ranks: int, each_byte: int, channels: float) -> None:
    got = channel_count(np.array([float(each_byte)]), np.array([float(ranks)]), np.array([float(ranks)]))
    assert got == pytest.approx([channels])


@pytest.mark.parametrize(
    ("ranks", "byte", "channels"),
    [
        (2, 1024, 16), (8, 1024, 4), (16, 1024, 2), (18, 1024, 1), (64, 1024, 1), (72, 1024, 1), (64, 16 * MIB, 1),
        (64, 16 * MIB + 1, 2), (64, 32 * MIB + 1, 4), (64, 128 * MIB + 1, 16), (64, 512 * MIB, 32), (64, 2**40, 32),
        (8, 64 * MIB, 4), (8, 64 * MIB + 1, 8), (1, 1024, 32),
    ],
)  # fmt: skip
def test_channels_of_a_send_by_hand(ranks: int, byte: int, channels: float) -> None:
    assert channel_count(np.array([float(byte)]), np.array([float(ranks)]), np.ones(1)) == pytest.approx([channels])


@pytest.mark.parametrize("ranks", [*range(1, 80), 100, 1000])
def test_larger_messages_never_have_fewer_channels_and_never_more_than_there_are(ranks: int) -> None:
    each = np.exp2(np.linspace(0.0, 32.0, 500))
    for peers in (1.0, float(ranks)):
        count = channel_count(each, np.full(500, float(ranks)), np.full(500, peers))
        assert np.all(np.diff(count) >= 0.0)
        assert np.all((count >= min(1.0, peers)) & (count <= 32.0))
