"""The lab's own claims, put to the test: `zclab prove`, and `docs/rigor.md` from it.

Each part is a module with `run(...)`, which returns a `proof.Proof`; `parts.PARTS`
lists them.
"""
