"""One fault tried: what was done, what was seen, and what of it is wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final, final

from tests.chaos import logs
from tests.chaos.checker import Verdict, judge
from tests.chaos.engines import Engine
from tests.chaos.faults import Fault
from tests.chaos.people import Strangers, compare, listen
from tests.chaos.record import Entered
from tests.chaos.stage import CALM_SECONDS, Load, Stage, stage

_LOOK_SECONDS: Final = 0.3


@final
@dataclass(kw_only=True)
class Outcome:
    """What came of one fault."""

    fault: str
    subscribers: int
    verdict: Verdict = field(default_factory=Verdict)
    ghosts: int = 0  #: in presence, in the end
    missing: int = 0  #: from presence, in the end
    reconnects: int = 0
    recovered: int = 0  #: subscriptions that came back and got all they missed
    repaired: int = 0  #: topics that nodes brought up to date while nobody noticed
    refused: int = 0  #: attempts to publish that failed and were repeated
    seconds: float = 0.0  #: the whole trial
    problems: list[str] = field(default_factory=list)  #: all else that is wrong, in words
    notes: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)  #: what each node and the engine said

    @property
    def right(self) -> bool:
        """Whether all went as it has to."""
        return self.verdict.right and not self.problems


async def attempt(fault: Fault, load: Load) -> Outcome:
    """Try a fault under load. What goes wrong in the trial itself is a problem of its outcome."""
    begun = time.monotonic()
    outcome = Outcome(fault=fault.name, subscribers=load.subscribers)
    try:
        async with fault.engine() as engine, stage(load, engine.server, engine.addresses) as scene:
            try:
                await _play(fault, engine, scene, outcome)
            except (AssertionError, TimeoutError) as error:
                outcome.problems.append(f"the trial came to no end: {error!r}")
            await _look(fault, scene, outcome)
            await scene.close()
            await _stop_nodes(fault, scene, outcome)
            outcome.logs["engine"] = "\n".join(server.log for server in engine.servers)
            _judge(fault, scene, outcome)
    except (AssertionError, TimeoutError, OSError) as error:
        outcome.problems.append("\n".join((f"the trial failed: {error!r}", *getattr(error, "__notes__", ()))))
    outcome.seconds = time.monotonic() - begun
    return outcome


async def _play(fault: Fault, engine: Engine, scene: Stage, outcome: Outcome) -> None:
    """Let everybody in, write, break, write on, and wait until everybody has seen everything."""
    load = scene.load
    channels = [f"{fault.kind}:{name}" for name in load.rooms]
    for number in range(load.subscribers):
        # Each in two channels, so that every pair of them is shared by some.
        first = number % len(channels)
        second = (first + 1 + number // len(channels) % (len(channels) - 1)) % len(channels)
        scene.subscriber(number, [channels[first], channels[second]])
    await scene.enter()
    writers = [scene.publisher(channels, rate=load.rate) for _ in range(load.publishers)]
    await asyncio.sleep(load.before_seconds)
    broken_at = scene.clock()
    await fault.break_(scene, engine)
    scene.notes.append(f"broken from {broken_at:.1f} s to {scene.clock():.1f} s of the run")
    await asyncio.sleep(load.seconds)
    await scene.finish(*writers)
    await scene.until(scene.all_in, "all are in again")
    await scene.until(lambda: not scene.behind(), "all have seen the last messages")


async def _look(fault: Fault, scene: Stage, outcome: Outcome) -> None:
    """Look whether presence is right and nobody has problems, within the time they have for that."""
    deadline = time.monotonic() + CALM_SECONDS
    while True:
        states = await scene.states()
        strangers = _strangers(scene, states)
        problems = _problems(scene, states) + _surveyed(scene, await scene.survey())
        if (strangers.none and not problems) or time.monotonic() > deadline:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    outcome.ghosts, outcome.missing = strangers.ghosts, strangers.missing
    outcome.problems += [f"presence: {words}" for words in strangers.words] + problems
    _count(fault, scene, states, outcome)
    _listen(fault, scene, outcome)


def _strangers(scene: Stage, states: dict[str, dict[str, Any]]) -> Strangers:
    shown = {
        node: {room: set(members) for room, members in state.get("presence", {}).items()}
        for node, state in states.items()
    }
    return compare(scene.in_rooms(), shown)


def _problems(scene: Stage, states: dict[str, dict[str, Any]]) -> list[str]:
    """Say what nodes say of themselves that is not as it has to be."""
    found = [f"{node} does not answer: {state['failed']}" for node, state in states.items() if "failed" in state]
    if found or len(states) < len(scene.nodes):
        return found or ["a node does not run"]
    ids = {state["id"] for state in states.values()}
    connected = {subscriber.id for subscriber in scene.subscribers if subscriber.ids and not subscriber.left}
    sessions = [identity for state in states.values() for identity in state["sessions"]]
    for node, state in states.items():
        found += [f"{node} says: {problem}" for problem in state["problems"]]
        if set(state["nodes"]) != ids or len(state["nodes"]) != len(ids):
            found.append(f"{node} knows {len(state['nodes'])} nodes of {len(ids)}, or others")
    if sorted(sessions) != sorted(connected):
        found.append(f"the nodes have {len(sessions)} sessions, and {len(connected)} clients are connected")
    return found


def _surveyed(scene: Stage, survey: dict[str, Any]) -> list[str]:
    """Say where what all nodes together answered differs from who is there."""
    channels: dict[str, int] = {}
    for subscriber in scene.subscribers:
        for seat in subscriber.seats:
            if not subscriber.left:
                channels[seat.record.channel] = channels.get(seat.record.channel, 0) + 1
    return [] if survey == channels else [f"a survey told {survey} in place of {channels}"]


#: Counts of a node that nothing here may move.
_NEVER: Final = (
    "commands_too_fast",
    "handler_errors",
    "handshakes_refused",
    "messages_malformed",
    "messages_too_large",
    "publications_dropped",
    "words_unreadable",
)


def _count(fault: Fault, scene: Stage, states: dict[str, dict[str, Any]], outcome: Outcome) -> None:
    """Take what the nodes counted, and look whether it agrees with what clients saw."""
    counters = [state["counters"] for state in states.values() if "counters" in state]
    totals: dict[str, int] = {}
    for counter in counters:
        for name, count in counter.items():
            totals[name] = totals.get(name, 0) + count
    outcome.repaired = totals.get("gaps_healed", 0)
    entered = [
        event
        for subscriber in scene.subscribers
        for seat in subscriber.seats
        for event in seat.record.events
        if isinstance(event, Entered)
    ]
    told = sum(event.told for event in entered)
    outcome.recovered = sum(event.recovered for event in entered)
    outcome.reconnects = sum(len(subscriber.ids) - 1 for subscriber in scene.subscribers if subscriber.ids)
    outcome.problems += [f"the nodes counted {totals[name]} {name}" for name in _NEVER if totals.get(name)]
    if not any(node.deaths for node in scene.nodes):  # who died took its counts along
        # A client that vanished may not have read that it was recovered or told.
        if totals.get("recoveries_failed", 0) < told or (not told and totals.get("recoveries_failed")):
            outcome.problems.append(f"{told} were told, the nodes counted {totals.get('recoveries_failed')}")
        if totals.get("recoveries", 0) < outcome.recovered:
            outcome.problems.append(f"{outcome.recovered} recovered, the nodes counted {totals.get('recoveries')}")
    if not told and totals.get("gaps_lost") and not fault.tail_may_be_lost:
        outcome.problems.append(f"{totals['gaps_lost']} topics lost something, and nobody was told")
    moved = {
        name: count for name, count in sorted(totals.items()) if count and name not in ("commands", "publications")
    }
    outcome.notes.append(f"counted by the nodes that run: {moved}")


def _listen(fault: Fault, scene: Stage, outcome: Outcome) -> None:
    """Look whether the joins and leaves that were heard make sense."""
    repeated = ghosts = vanished = 0
    rooms = scene.in_rooms()
    for subscriber in scene.subscribers:
        if not subscriber.listens or subscriber.left:
            continue
        for seat in subscriber.seats:
            kind, _, name = seat.record.channel.partition(":")
            entries = [event.at for event in seat.record.events if isinstance(event, Entered)]
            if kind == "room" and entries:
                moves = [move for move in seat.record.moves if move.at >= entries[-1]]
                heard = listen(moves, rooms[name], set(subscriber.ids))
                repeated += heard.repeated
                ghosts += heard.ghosts
                vanished += heard.vanished
    words = f"joins and leaves heard: {repeated} twice, {ghosts} of ghosts, {vanished} left and still there"
    # They are not kept: what happens while the engine is away may be heard by nobody, such as the leave between two
    # joins of somebody whose node was taken for dead.
    if fault.engine_stays and (repeated or ghosts or vanished):
        outcome.problems.append(words)
    outcome.notes.append(words)


async def _stop_nodes(fault: Fault, scene: Stage, outcome: Outcome) -> None:
    """Stop the nodes as in production, and read what they have said."""
    await asyncio.gather(*(asyncio.to_thread(node.stop) for node in scene.nodes))
    for node in scene.nodes:
        outcome.logs[node.name] = node.log
        found = list(logs.faults(node.log, engine_stays=fault.engine_stays))
        outcome.problems += [f"{node.name} logged: {line}" for line in found[:5]]
        if len(found) > 5:
            outcome.problems.append(f"{node.name} logged {len(found) - 5} more")
        outcome.notes.append(f"{node.name} logged {logs.warnings(node.log)} warnings")
        if not node.ended_by_itself:
            outcome.problems.append(f"{node.name} did not end when it was asked to")


def _judge(fault: Fault, scene: Stage, outcome: Outcome) -> None:
    written = [message for publisher in scene.publishers for message in publisher.written]
    records = [seat.record for subscriber in scene.subscribers for seat in subscriber.seats]
    verdict = outcome.verdict = judge(
        written, records, may_be_told=fault.is_told, tail_may_be_lost=fault.tail_may_be_lost
    )
    outcome.subscribers = len(scene.subscribers)
    outcome.refused = sum(message.attempts - 1 for message in written if message.attempts)
    outcome.notes += scene.notes
    outcome.notes.append(f"the longest silence, of {verdict.silence:.1f} s, was that of {verdict.silent}")
    for publisher in scene.publishers:
        outcome.notes += [
            f"publisher {publisher.identity}: {count} times {why}" for why, count in publisher.refused.items()
        ]
    outcome.problems += [failure for subscriber in scene.subscribers for failure in subscriber.failures]
    if verdict.given_up:
        outcome.problems.append(f"{verdict.given_up} messages were never acknowledged")
    if fault.is_told and not verdict.told:
        outcome.problems.append("nobody was told")
