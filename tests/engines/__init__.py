"""Real servers for the tests: Valkey, Redis, Valkey Cluster, Sentinel and NATS, in processes of their own on loopback.

They are plain synchronous objects and context managers (`with ValkeyServer() as server:`), started when the block is
entered and gone when it is left, with their folder. Session-wide ones, shared by all tests, are fixtures in
`tests/conftest.py`: `valkey`, `redis`, `valkey_cluster`, `nats`. Who kills or freezes a server starts one of their own.

    process.py  one server process: start, kill, stop, restart, freeze, thaw
    ports.py    a port that stays its owner's while nobody listens on it
    resp.py     a process that answers commands: what Valkey, Redis and Sentinel have in common
    valkey.py   ValkeyServer, ValkeyCluster, Sentinels
    nats.py     NatsServer
"""
