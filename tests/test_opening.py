"""The report's first sentences: what wins is not quoted without what loses."""

from tests import samples
from zclab.explain import claims, opening, table
from zclab.params import Path, Protocol, grid


def advice(tmp_path, gains, modes=samples.ALL):
    """Return the last sentence of a run on the sink with these gains by size."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=gains,
        modes=modes,
        batch=8,
    )
    run = samples.make(
        tmp_path,
        plan_points=points,
        gain=lambda point, arm: (
            gains[point.io_size_bytes] if arm == "send_zc_fixed" else 0.0
        ),
    )
    summary = table.summary(run)
    return opening.sentences(run, summary, claims.compared(summary))[-1]


def test_wins_and_losses(tmp_path):
    """A size that wins stands beside the largest that loses."""
    said = advice(tmp_path, {1200: -20.0, 4000: -10.0, 8000: 25.0})

    assert "from a registered buffer: over UDP at 8000 B (+2" in said
    assert "but not at 4000 B (-" in said
    assert "1200 B" not in said
    assert "registering saves" in said


def test_wins_alone(tmp_path):
    """Where nothing loses nothing is said to."""
    said = advice(tmp_path, {4000: 10.0, 8000: 25.0})

    assert "over UDP at 4000 B (+" in said
    assert "but not" not in said


def test_nothing_wins(tmp_path):
    """Where zerocopy loses throughout, nobody is told to register a buffer."""
    said = advice(tmp_path, {4000: -10.0, 8000: -25.0})

    assert "send plainly at the sizes of this run" in said
    assert "its best was at 4000 B (-" in said
