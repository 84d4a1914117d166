"""zclab, the reproducibility lab for io_uring zerocopy send.

The measuring half (`zclab.uring`, `zclab.measure`) needs Linux and a compiler.
The explaining half (`zclab.explain`, `zclab.publish`) is pure Python. They meet
only in the data on disk (`zclab.store`). Importing `zclab` loads neither.
"""

__version__ = "0.1.0"
