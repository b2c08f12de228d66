"""Faults under load, as a person can rerun them: `make chaos`.

    faults.py       what is broken, one function each
    engines.py      the engines on which it is broken
    trial.py        one fault, and what came of it
    stage.py        the nodes, what stands before them, and everybody who is there
    app.py          the program on every node
    node.py         one node: a process of its own
    balancer.py     what clients and publishers connect to: any node that lives
    publishers.py   write numbered messages by HTTP, and keep what was acknowledged
    subscribers.py  clients of the released SDK that record what they see
    record.py       what is recorded
    checker.py      what of it is wrong; pure
    people.py       who is where: presence, joins and leaves; pure
    logs.py         what a node may say while it is broken, and what it may not
    report.py       the table

A short run with few subscribers is part of `make test`.
"""
