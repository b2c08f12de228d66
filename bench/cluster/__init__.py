"""`make bench-cluster`: what many nodes cost, beside what they are made of.

    __main__.py    the options, the run
    engines.py     Valkey and NATS, started for a run
    nodes.py       nodes and workers as processes
    usage.py       the CPU of any process
    publishing.py  a program that publishes in one way, as fast as it can or at a rate
    herd.py        a program that is many clients, whose node dies
    client.py      one of them
    measures.py    what is measured, in rounds
    report.py      the figures as tables

It runs in `.venv`, where the servers and redis-py are for the tests: so no lock has more in it than before.
"""
