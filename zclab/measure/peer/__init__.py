"""The peer: a receiver on a second host, and the controller's end of it.

`serve.py` and `session.py` are what `zclab peer` runs; `client.py` is what a station
uses. Both speak what `control.py` and `message.py` define, and docs/peer.md explains.
"""
