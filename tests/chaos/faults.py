"""What is broken, one fault after the other. Each leaves everything running again, as whoever looks after it would."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.chaos.engines import (
    Engine,
    Start,
    Watched,
    behind_lines,
    cluster,
    forgetful_valkey,
    hasty_cluster,
    nats,
    redis,
    sentinel,
    valkey,
)
from tests.chaos.node import ChaosNode
from tests.chaos.stage import NODES, Stage
from tests.cut import cutter
from tests.engines.valkey import ValkeyCluster

Break = Callable[[Stage, Engine], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is broken, and what may come of it."""

    name: str
    engine: Start
    break_: Break
    #: The engine and the way to it stay whole: then joins and leaves may not be lost either.
    engine_stays: bool = False
    #: What was missed is in no history: subscribers have to be told.
    is_told: bool = False
    #: A replica that lacks the newest may be promoted.
    tail_may_be_lost: bool = False
    kind: str = "room"  #: of the channels that are written to


# --- nodes --------------------------------------------------------------------------------------------------------


async def kill_a_node(stage: Stage, engine: Engine) -> None:
    """Kill a node; once the others know that its clients are gone, it is started again."""
    node = stage.nodes[0]
    gone = set((await stage.states())[node.name]["sessions"])
    await asyncio.to_thread(node.kill)
    killed_at = stage.clock()
    while await _shown(stage, gone):
        assert stage.clock() - killed_at < LEASE_SECONDS, "the clients of a killed node are still shown"
        await asyncio.sleep(0.2)
    stage.notes.append(f"{len(gone)} clients of a killed node were gone after {stage.clock() - killed_at:.1f} s")
    await asyncio.sleep(1)
    await asyncio.to_thread(node.start)


#: A node that died is gone for the others after so many seconds.
LEASE_SECONDS: Final = 10


async def _shown(stage: Stage, clients: set[str]) -> bool:
    states = await stage.states()
    return any(clients.intersection(members) for state in states.values() for members in state["presence"].values())


async def roll_the_nodes(stage: Stage, engine: Engine) -> None:
    """Stop each node in its turn and start it anew, as a deployment does."""
    for node in stage.nodes:
        await asyncio.to_thread(node.stop)
        await asyncio.to_thread(node.start)
        await asyncio.sleep(1)


# --- engines ------------------------------------------------------------------------------------------------------


async def kill_the_engine(stage: Stage, engine: Engine) -> None:
    """Kill it; a second later it is started again with what it had kept."""
    await asyncio.to_thread(engine.server.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(engine.server.start)


async def restart_the_engine(stage: Stage, engine: Engine) -> None:
    """Stop it in order and start it again."""
    await asyncio.to_thread(engine.server.restart)


async def freeze_the_engine(stage: Stage, engine: Engine) -> None:
    """Halt it for ten seconds: its connections stay open."""
    await asyncio.to_thread(engine.server.freeze)
    await asyncio.sleep(10)
    await asyncio.to_thread(engine.server.thaw)


async def kill_a_master(stage: Stage, engine: Engine) -> None:
    """Kill the master of a cluster; its replica takes over, and it comes back as a replica."""
    server: ValkeyCluster = engine.server
    master = await asyncio.to_thread(server.master_of, f"{{room:{stage.load.rooms[0]}}}")
    replica = await asyncio.to_thread(server.replica_of, master)
    await asyncio.to_thread(master.kill)
    await asyncio.to_thread(replica.wait_until_promoted)
    await asyncio.sleep(1)
    await asyncio.to_thread(master.start)


async def kill_masters_in_turn(stage: Stage, engine: Engine) -> None:
    """Kill a master, and once it is back as a replica the one that took over: so the first is a master again."""
    for _ in range(2):
        await kill_a_master(stage, engine)
        await asyncio.to_thread(engine.server.wait_until_settled)
        await asyncio.sleep(1)


async def kill_the_watched_master(stage: Stage, engine: Engine) -> None:
    """Kill a master under sentinels; they promote its replica, and it comes back as that one's."""
    server: Watched = engine.server
    await asyncio.to_thread(server.master.kill)
    await asyncio.to_thread(server.replica.wait_until_promoted)
    await asyncio.sleep(1)
    await asyncio.to_thread(server.master.start)


async def freeze_a_master(stage: Stage, engine: Engine) -> None:
    """Halt a master until its replica has taken over; then it goes on, and for a moment both believe to be master."""
    server: ValkeyCluster = engine.server
    master = await asyncio.to_thread(server.master_of, f"{{room:{stage.load.rooms[0]}}}")
    replica = await asyncio.to_thread(server.replica_of, master)
    await asyncio.to_thread(master.freeze)
    await asyncio.to_thread(replica.wait_until_promoted)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(master.thaw)


async def lose_a_tail(stage: Stage, engine: Engine) -> None:
    """Promote a replica that lacks what its master published in its last two seconds, and nobody acknowledged."""
    server: ValkeyCluster = engine.server
    master = await asyncio.to_thread(server.master_of, f"{{room:{stage.load.rooms[0]}}}")
    replica = await asyncio.to_thread(server.replica_of, master)
    await asyncio.to_thread(replica.freeze)
    await asyncio.to_thread(master.drop_replicas)
    await asyncio.sleep(1.5)
    await asyncio.to_thread(master.kill)
    await asyncio.to_thread(replica.thaw)
    await asyncio.to_thread(replica.wait_until_promoted)
    await asyncio.sleep(1)
    await asyncio.to_thread(master.start)


# --- lines --------------------------------------------------------------------------------------------------------


async def cut_lines(stage: Stage, engine: Engine) -> None:
    """Break each node's connections to the engine while the others go on, then all; refuse new ones for a while."""
    for line in engine.lines:
        line.drop()
        await asyncio.sleep(0.5)
        line.cut()
        await asyncio.sleep(1)
        line.mend()
    for line in engine.lines:
        line.cut()
    await asyncio.sleep(2)
    for line in engine.lines:
        line.mend()


async def swallow_lines(stage: Stage, engine: Engine) -> None:
    """Throw away what a node and the engine say to each other while the others go on, then all; nothing is closed."""
    first = engine.lines[0]
    first.swallow()
    await asyncio.sleep(6)
    first.mend()
    await asyncio.sleep(4)
    for line in engine.lines:
        line.swallow()
    await asyncio.sleep(6)
    for line in engine.lines:
        line.mend()


async def miss_the_newest(stage: Stage, engine: Engine) -> None:
    """Let a node miss the last messages there are: nothing comes after them that would show it."""
    first = engine.lines[0]
    first.swallow()
    await asyncio.sleep(1)
    await stage.finish(*stage.publishers)
    first.mend()


async def fill_sockets(stage: Stage, engine: Engine) -> None:
    """Let some stop reading while much is published for them, until the server closes them; then they read on."""
    channels = [f"flood:{number}" for number in range(FLOODED)]
    async with cutter(stage.nodes[0].port) as line:
        slow = [stage.subscriber(1_000 + number, channels, port=line.port) for number in range(SLOW)]
        await stage.enter()
        line.hold()
        writers = [stage.publisher(channels, rate=20, padding=32_000) for _ in range(2)]
        try:
            await _until_closed(stage)
        finally:
            await stage.finish(*writers)
            line.mend()
        await stage.until(lambda: all(one.connected for one in slow), "the slow ones are back")
        await stage.until(lambda: not stage.behind(), "the slow ones have caught up")
        stage.notes.append(f"slow subscribers were closed with {sorted({code for one in slow for code in one.codes})}")
        await asyncio.gather(*(one.stop() for one in slow))


#: Channels of large messages: what somebody slow has missed of each is more than is recovered in one step.
FLOODED: Final = 2
SLOW: Final = 3


async def _until_closed(stage: Stage) -> None:
    async with asyncio.timeout(40):
        while True:
            states = await stage.states()
            if sum(state["counters"]["slow_clients"] for state in states.values()) >= SLOW:
                return
            await asyncio.sleep(0.3)


async def keep_everybody_out(stage: Stage, engine: Engine) -> None:
    """Break all connections of subscribers, and refuse new ones until history has forgotten what they missed."""
    stage.clients.closed = True
    stage.clients.drop()
    await asyncio.sleep(6)
    stage.clients.closed = False


# --- all at once --------------------------------------------------------------------------------------------------


async def storm(stage: Stage, engine: Engine) -> None:
    """Break one thing after the other while the last is still broken; the same ones for the same seed."""
    chance = random.Random(stage.load.seed)
    async with asyncio.TaskGroup() as breaking:
        for number in range(STORM):
            node = stage.nodes[number % len(stage.nodes)]
            breaking.create_task(_kill_for_a_while(node, chance.uniform(0.5, 2)))
            await asyncio.sleep(chance.uniform(0, 1))
            break_ = chance.choice((_swallow, _cut, _drop_clients))
            breaking.create_task(break_(stage, engine, chance.uniform(0.5, 4), chance))
            await asyncio.sleep(chance.uniform(0, 1))
            await chance.choice((_kill_engine, _freeze_engine))(stage, engine, chance.uniform(0.5, 3))
            await asyncio.sleep(chance.uniform(2, 4))


#: How many rounds a storm has.
STORM: Final = 3


async def _kill_for_a_while(node: ChaosNode, seconds: float) -> None:
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(seconds)
    # It does not start while its engine is away, as a service manager finds out, and tries again.
    for _ in range(20):
        try:
            return await asyncio.to_thread(node.start)
        except AssertionError:
            await asyncio.sleep(0.5)
    raise AssertionError(f"{node.name} does not start any more")


async def _swallow(stage: Stage, engine: Engine, seconds: float, chance: random.Random) -> None:
    broken = chance.sample(engine.lines, chance.randint(1, NODES))
    for line in broken:
        line.swallow()
    await asyncio.sleep(seconds)
    for line in broken:
        line.mend()


async def _cut(stage: Stage, engine: Engine, seconds: float, chance: random.Random) -> None:
    broken = chance.sample(engine.lines, chance.randint(1, NODES))
    for line in broken:
        line.cut()
    await asyncio.sleep(seconds)
    for line in broken:
        line.mend()


async def _drop_clients(stage: Stage, engine: Engine, seconds: float, chance: random.Random) -> None:
    stage.clients.drop()
    await asyncio.sleep(seconds)
    stage.clients.drop()


async def _kill_engine(stage: Stage, engine: Engine, seconds: float) -> None:
    await asyncio.to_thread(engine.server.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(engine.server.start)


async def _freeze_engine(stage: Stage, engine: Engine, seconds: float) -> None:
    await asyncio.to_thread(engine.server.freeze)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(engine.server.thaw)


FAULTS: Final = (
    Fault(name="node-killed", engine=valkey, break_=kill_a_node, engine_stays=True),
    Fault(name="nodes-rolled", engine=valkey, break_=roll_the_nodes, engine_stays=True),
    Fault(name="valkey-killed", engine=valkey, break_=kill_the_engine),
    Fault(name="redis-killed", engine=redis, break_=kill_the_engine),
    Fault(name="valkey-frozen", engine=valkey, break_=freeze_the_engine),
    Fault(name="valkey-cut", engine=behind_lines(valkey), break_=cut_lines),
    Fault(name="valkey-swallowed", engine=behind_lines(valkey), break_=swallow_lines),
    Fault(name="valkey-newest", engine=behind_lines(valkey), break_=miss_the_newest),
    Fault(name="master-killed", engine=cluster, break_=kill_a_master, tail_may_be_lost=True),
    Fault(name="masters-in-turn", engine=cluster, break_=kill_masters_in_turn, tail_may_be_lost=True),
    Fault(name="master-frozen", engine=cluster, break_=freeze_a_master, tail_may_be_lost=True),
    Fault(name="tail-lost", engine=cluster, break_=lose_a_tail, tail_may_be_lost=True),
    Fault(name="tail-lost-hasty", engine=hasty_cluster, break_=lose_a_tail, is_told=True),
    Fault(name="sentinel-failover", engine=sentinel, break_=kill_the_watched_master, tail_may_be_lost=True),
    Fault(name="valkey-emptied", engine=forgetful_valkey, break_=kill_the_engine, is_told=True),
    Fault(name="valkey-storm", engine=behind_lines(valkey), break_=storm),
    Fault(name="sockets-filled", engine=valkey, break_=fill_sockets, engine_stays=True),
    Fault(
        name="history-short",
        engine=valkey,
        break_=keep_everybody_out,
        engine_stays=True,
        is_told=True,
        kind="brief",
    ),
    Fault(name="nats-node-killed", engine=nats, break_=kill_a_node, engine_stays=True),
    Fault(name="nats-restarted", engine=nats, break_=restart_the_engine),
    Fault(name="nats-killed", engine=nats, break_=kill_the_engine),
    Fault(name="nats-frozen", engine=nats, break_=freeze_the_engine),
    Fault(name="nats-cut", engine=behind_lines(nats), break_=cut_lines),
    Fault(name="nats-swallowed", engine=behind_lines(nats), break_=swallow_lines),
    Fault(name="nats-newest", engine=behind_lines(nats), break_=miss_the_newest),
    Fault(name="nats-storm", engine=behind_lines(nats), break_=storm),
)
