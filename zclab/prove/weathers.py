"""The weathers that the statistics are tried in, from fair to foul."""

from zclab.truth import Truth

# Only the noise of each slice: what textbooks assume.
CALM = Truth(noise=0.01, shared=0.05)

# As a 2-CPU virtual machine on the sink: within a block, `send` and its control differ
# by a standard deviation of 8 %, but by 3 % where no burst falls on either.
HOST = Truth(
    noise=0.03,
    shared=0.15,
    drift=0.2,
    wave=0.1,
    autocorrelation=0.5,
    burst_rate=0.012,
    burst_factor=1.5,
    burst_samples=5,
)

# As the same over veth while others work: nearly nothing is left to stand on.
FOUL = Truth(
    noise=0.12,
    shared=0.25,
    drift=1.0,
    wave=0.3,
    autocorrelation=0.8,
    burst_rate=0.03,
    burst_factor=2.0,
    burst_samples=8,
)

# As a quiet virtual machine on the sink: so little noise that where sockets and buffers
# happen to lie is most of what is left (`send` and its control differ by 0.6 % from
# block to block, and by a quarter of a percent from placement to placement).
PLACED = Truth(noise=0.0042, noise_floor=0.0, shared=0.05, placement=0.0017)

WEATHERS = {"calm": CALM, "placed": PLACED, "host": HOST, "foul": FOUL}
