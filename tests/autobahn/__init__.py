"""The fast wire under Autobahn, the conformance suite of WebSocket: `make autobahn`.

The suite is a program for Python 2.7, run as it was released. So `make test` runs none of it: what matters of it is
asked again in `tests/wires`.
"""
