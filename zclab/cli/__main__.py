"""`python -m zclab.cli`."""

from zclab.cli import main

main()
