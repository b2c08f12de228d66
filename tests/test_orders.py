"""What the app may ask of every node at once, on two or three nodes that share a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from openline import cluster, codes
from openline.application import Welcome
from openline.brokers.memory import MemoryBroker
from openline.codes import DisconnectCode
from openline.commands import Commands
from openline.errors import (
    AlreadySubscribed,
    BadRequest,
    BrokerUnavailable,
    HubNotStarted,
    InternalError,
    LimitExceeded,
    PermissionDenied,
    Refusal,
    TooManyRequests,
    UnknownChannel,
)
from openline.node import Node
from openline.options import ChannelOptions, Heartbeat, Limits
from openline.orders import Orders, Survey, Target
from openline.presence.memory import MemoryPresence
from openline.protocol.messages import ConnectRequest
from openline.session import Session
from openline.testing import VirtualClock
from tests.engine import KEPT, PLAIN, OpenApplication, OpenRules, RecordingWire
from tests.network import Network, NetworkBroker

GOODBYE = DisconnectCode(4321, "goodbye")


class House(OpenApplication):
    """An app in which a client's name is its user, and not every channel is one.

    Attributes:
        refusals: raised for these channels whoever wants to enter.
        door: a connect is decided once this is set.
    """

    def __init__(self, options: ChannelOptions) -> None:
        super().__init__(options)
        self.refusals: dict[str, Exception] = {}
        self.door = asyncio.Event()
        self.door.set()

    def rules(self, channel: str) -> OpenRules:
        """Give the rules of a channel, or refuse."""
        if channel in self.refusals:
            raise self.refusals[channel]
        return super().rules(channel)

    async def welcome(self, session: Session, request: ConnectRequest) -> Welcome:
        """Welcome everybody by name."""
        session.user = request.name
        await self.door.wait()
        return Welcome(user=request.name)


class Place:
    """One node with its app, and who gives orders there."""

    def __init__(self, broker: NetworkBroker | MemoryBroker, clock: VirtualClock, options: ChannelOptions) -> None:
        self.broker = broker
        self.node = Node(
            broker,
            MemoryPresence(),
            limits=Limits(channels=3),
            heartbeat=Heartbeat(ping_seconds=1_000_000),
            clock=clock,
        )
        self.app = House(options)
        self.commands = Commands(self.node, self.app)
        self.orders = Orders(self.commands)

    async def client(self, name: str, *channels: str) -> tuple[RecordingWire, Session]:
        """Connect a client of a user that subscribes to these channels."""
        wire = RecordingWire()
        session = self.commands.open(wire)
        assert isinstance(session, Session)
        lines = [json.dumps({"id": 1, "connect": {"name": name}})]
        lines += [json.dumps({"id": 2 + i, "subscribe": {"channel": channel}}) for i, channel in enumerate(channels)]
        session.receive("\n".join(lines).encode())
        await settle()
        return wire, session


async def settle() -> None:
    """Let everything arrive that is on its way."""
    for _ in range(60):
        await asyncio.sleep(0)


@asynccontextmanager
async def places(count: int, options: ChannelOptions = PLAIN) -> AsyncIterator[list[Place]]:
    """Run so many nodes that know each other."""
    clock = VirtualClock()
    network = Network(clock.wall)
    async with AsyncExitStack() as stack:
        made = [Place(network.broker(), clock, options) for _ in range(count)]
        for place in made:
            await stack.enter_async_context(place.node.running())
        await settle()
        yield made


def told(wire: RecordingWire, kind: str) -> list[object]:
    """Give what a client was pushed of a kind."""
    pushes = [message.get("push", {}) for message in wire.messages()]
    return [push[kind] for push in pushes if kind in push]


# --- reaching a user --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
async def test_a_message_reaches_every_session_of_a_user_on_every_node(count: int) -> None:
    """Whichever node it is sent from, once each, and nobody else."""
    async with places(count) as nodes:
        ann = [(await place.client("ann"))[0] for place in nodes for _ in range(2)]
        bob = [(await place.client("bob"))[0] for place in nodes]
        for place in nodes:
            assert await place.orders.send(Target("ann"), {"from": place.node.id}) == 2 * count

        messages = [{"data": {"from": place.node.id}} for place in nodes]
        assert [told(wire, "message") for wire in ann] == [messages] * len(ann)
        assert [told(wire, "message") for wire in bob] == [[]] * count


async def test_a_user_is_subscribed_and_unsubscribed_on_every_node() -> None:
    """Each client is told, and gets what is published from then on."""
    async with places(2, KEPT) as (here, there):
        wires = [(await place.client("ann"))[0] for place in (here, there)]
        assert await here.orders.subscribe(Target("ann"), "a") == 2
        await here.node.publish("a", b"1", KEPT)
        await settle()
        assert await there.orders.unsubscribe(Target("ann"), "a", codes.UNSUBSCRIBED_BY_SERVER) == 2
        await here.node.publish("a", b"2", KEPT)
        await settle()
        for wire in wires:
            assert len(told(wire, "subscribe")) == 1
            assert wire.publications("a") == [1]
            assert told(wire, "unsubscribe") == [{"code": 2000, "reason": "server unsubscribe"}]


async def test_one_that_is_in_the_channel_already_stays() -> None:
    """It is no error, wherever it is; the others are subscribed."""
    async with places(2) as (here, there):
        inside, _ = await there.client("ann", "a")
        outside, session = await there.client("ann")
        await here.client("ann", "a")
        await here.orders.subscribe(Target("ann"), "a")
        assert (told(inside, "subscribe"), len(told(outside, "subscribe"))) == ([], 1)
        assert session.channels == {"a"}


async def test_a_user_is_disconnected_on_every_node() -> None:
    """With the code and reason that were asked for."""
    async with places(3) as nodes:
        ann = [(await place.client("ann"))[0] for place in nodes]
        bob, _ = await nodes[0].client("bob")
        assert await nodes[0].orders.disconnect(Target("ann"), GOODBYE) == 3
        assert [wire.close_code for wire in ann] == [4321] * 3
        assert bob.close_code is None


async def test_one_that_is_still_connecting_elsewhere_is_disconnected_too() -> None:
    """A ban does not miss the session whose handler still thinks."""
    async with places(2) as (here, there):
        there.app.door.clear()
        wire, _ = await there.client("ann")
        assert there.node.sessions_of("ann") == ()
        assert await here.orders.disconnect(Target("ann"), GOODBYE) == 1
        there.app.door.set()
        await settle()
        assert wire.close_code == 4321
        assert there.node.sessions_of("ann") == ()


async def test_one_connection_of_a_user_is_meant_by_its_id_or_its_secret() -> None:
    """Wherever it is; both have to fit, and the user too. One without a secret is meant by no secret."""
    async with places(2) as (here, there):
        wires = [await place.client("ann") for place in (here, there)]
        (first, _), (second, session) = wires
        session.secret = "s3cret"
        for target in (Target("ann", session.id), Target("ann", "", "s3cret")):
            assert await here.orders.send(target, 1) == 1
        assert (told(first, "message"), len(told(second, "message"))) == ([], 2)
        for target in (Target("bob", session.id), Target("ann", "nobody"), Target("ann", session.id, "wrong")):
            assert await here.orders.send(target, 1) == 0
            assert await here.orders.disconnect(target, GOODBYE) == 0
        assert await here.orders.disconnect(Target("ann"), GOODBYE, spared=[session.id]) == 1
        assert (first.close_code, second.close_code) == (4321, None)


async def test_all_channels_are_left_at_once() -> None:
    """Each is told."""
    async with places(2) as (here, there):
        wire, session = await there.client("ann", "a", "b")
        assert await here.orders.unsubscribe(Target("ann"), "", codes.UNSUBSCRIBED_BY_SERVER) == 1
        assert session.channels == set()
        assert len(told(wire, "unsubscribe")) == 2


async def test_a_connection_is_given_another_end_elsewhere() -> None:
    """And is told, in whole seconds; what others see of it changes with it."""
    async with places(2) as (here, there):
        wire, session = await there.client("ann")
        now = there.node.clock.wall()
        assert await here.orders.refresh(Target("ann"), now + 60, b'{"a":1}') == 1
        assert told(wire, "refresh") == [{"expires": True, "ttl": 60}]
        assert session.info == {"a": 1}
        await here.orders.refresh(Target("ann"), None)
        assert (session.ends_at, session.info) == (None, {"a": 1})
        await here.orders.refresh(Target("ann"), now - 1)
        assert wire.close_code == 3005


async def test_a_user_on_no_node_is_no_error() -> None:
    """Whether anybody is there, nobody knows in time."""
    async with places(2) as (here, _):
        assert await here.orders.send(Target("nobody"), 1) == 0
        assert await here.orders.subscribe(Target("nobody"), "a") == 0
        assert await here.orders.unsubscribe(Target("nobody"), "a", codes.UNSUBSCRIBED_BY_SERVER) == 0
        assert await here.orders.disconnect(Target("nobody"), GOODBYE) == 0


async def test_a_node_that_has_left_is_not_asked() -> None:
    """And one that comes later is."""
    async with places(1) as (here,):
        assert isinstance(here.broker, NetworkBroker)
        for _ in range(2):
            there = Place(here.broker.network.broker(), VirtualClock(), PLAIN)
            async with there.node.running():
                await settle()
                await there.client("ann")
                assert await here.orders.send(Target("ann"), 1) == 1
            await settle()
            assert await here.orders.send(Target("ann"), 2) == 0


# --- what goes wrong elsewhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        UnknownChannel(),
        BadRequest("not like this"),
        PermissionDenied("you know why"),
        LimitExceeded(),
        TooManyRequests(temporary=False),
        InternalError("it broke", temporary=True),
        Refusal("the app's own", code=1234, temporary=True),
    ],
    ids=repr,
)
async def test_a_refusal_on_another_node_is_raised_as_what_it_was(refusal: Refusal) -> None:
    """Class, code, words, and whether to try again."""
    async with places(2) as (here, there):
        await there.client("ann")
        there.app.refusals["a"] = refusal
        with pytest.raises(type(refusal)) as caught:
            await here.orders.subscribe(Target("ann"), "a")
        assert type(caught.value) is type(refusal)
        assert caught.value.code == refusal.code
        assert str(caught.value) == str(refusal)


async def test_one_that_is_refused_keeps_nobody_else_out() -> None:
    """Its other sessions, here and there, are subscribed all the same."""
    async with places(2) as (here, there):
        await here.client("ann")
        _, full = await there.client("ann", "x", "y", "z")
        _, free = await there.client("ann")
        _, also = await here.client("ann")
        with pytest.raises(LimitExceeded, match="more than 3 channels"):
            await here.orders.subscribe(Target("ann"), "a")
        assert [sorted(session.channels) for session in (full, free, also)] == [["x", "y", "z"], ["a"], ["a"]]


async def test_a_broker_that_is_away_from_another_node_is_said_to_be() -> None:
    """And which node it is that it is away from."""
    async with places(2) as (here, there):
        await there.client("ann")
        there.app.refusals["a"] = BrokerUnavailable("no route")
        with pytest.raises(BrokerUnavailable, match=rf"no route \(on node {there.node.process}\)"):
            await here.orders.subscribe(Target("ann"), "a")


async def test_an_error_nobody_thought_of_is_in_the_log_of_its_node(caplog: pytest.LogCaptureFixture) -> None:
    """And at the giver an internal error: what it says of the other node's insides is not for everybody."""
    async with places(2) as (here, there):
        await there.client("ann")
        there.app.refusals["a"] = ZeroDivisionError("as the test wants")
        with pytest.raises(InternalError, match="its log says why") as caught:
            await here.orders.subscribe(Target("ann"), "a")
        assert "as the test wants" not in str(caught.value)
    assert "as the test wants" in caplog.text


async def test_an_order_of_another_version_is_refused_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """Its giver is told, in a rolling upgrade, that it was not carried out."""
    async with places(1) as (here,):
        report = here.orders._reports.decode(await here.node.cluster.carry_out(b"dance"))
        assert report.refusal is not None
        assert report.refusal[0] == 100
    assert "an order of another node failed" in caplog.text


@pytest.mark.parametrize(
    "order",
    [
        {"type": "disconnect", "user": "ann", "code": 4321, "reason": "goodbye"},
        {"type": "disconnect", "to": {"user": "ann"}, "code": 4321, "reason": "bye", "spared": [], "only": ["x"]},
        {"type": "disconnect", "to": {"user": "ann", "device": "x"}, "code": 4321, "reason": "bye", "spared": []},
    ],
)
async def test_no_half_of_an_order_is_carried_out(order: dict[str, object]) -> None:
    """One of an older version says less, one of a newer more: here it would be to disconnect the wrong ones."""
    async with places(1) as (here,):
        wire, _ = await here.client("ann")
        report = here.orders._reports.decode(await here.node.cluster.carry_out(msgspec.msgpack.encode(order)))
        assert report.refusal is not None
        assert report.refusal[0] == 100
        assert wire.close_code is None


async def test_a_node_that_is_cut_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have done it, and it may be asked for again."""
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.02)
    async with places(2) as (here, there):
        wire, _ = await here.client("ann")
        assert isinstance(there.broker, NetworkBroker)
        with there.broker.cut(), pytest.raises(BrokerUnavailable, match=there.node.id):
            await here.orders.send(Target("ann"), 1)
        assert told(wire, "message") == [{"data": 1}]
        assert here.node.counters.words_unanswered == 1
        assert await here.orders.send(Target("ann"), 2) == 1


async def test_an_order_before_the_start_is_an_error() -> None:
    """It would reach nobody."""
    clock = VirtualClock()
    place = Place(Network(clock.wall).broker(), clock, PLAIN)
    with pytest.raises(HubNotStarted, match="an order to all nodes"):
        await place.orders.send(Target("ann"), 1)


async def test_sessions_and_orders_are_of_one_process_with_the_memory_broker() -> None:
    """The same calls, and no word between nodes."""
    clock = VirtualClock()
    place = Place(MemoryBroker(now=clock.wall), clock, PLAIN)
    async with place.node.running():
        wire, _ = await place.client("ann", "a")
        assert await place.orders.send(Target("ann"), 1) == 1
        assert await place.orders.subscribe(Target("ann"), "a") == 1
        assert (await place.orders.survey("")).channels == {"a": 1}
        with pytest.raises(BadRequest):
            await place.orders.subscribe(Target("ann"), "no name")
        await settle()
        assert told(wire, "message") == [{"data": 1}]


def test_every_refusal_comes_back_as_its_own_class() -> None:
    """Each code belongs to one class."""
    kinds = Refusal.__subclasses__()
    own = {kind for kind in kinds if kind.__module__ == "openline.errors"}
    assert len({kind.default.number for kind in own}) == len(own) >= 13
    assert AlreadySubscribed in own


# --- asking what there is ---------------------------------------------------------------------------------------------


async def test_a_survey_sums_what_each_node_sees() -> None:
    """Subscribers of each channel, whichever node they are on; the asked node comes first."""
    async with places(3) as nodes:
        first, second, third = nodes
        await first.client("ann", "a", "b")
        await second.client("ann", "a")
        await second.client("bob", "a", "room:1")
        await third.client("", "room:1")
        for asked in nodes:
            survey = await asked.orders.survey("")
            assert survey.channels == {"a": 3, "b": 1, "room:1": 2}
            assert survey.clients == 4
            assert survey.nodes[0].id == asked.node.id
            by_id = {node.id: node for node in survey.nodes}
            counts = [
                (one.clients, one.users, one.channels, one.subscriptions)
                for one in (by_id[place.node.id] for place in nodes)
            ]
            assert counts == [(1, 1, 2, 2), (2, 2, 2, 3), (1, 0, 1, 1)]


async def test_a_survey_of_a_prefix_lists_those_channels_only() -> None:
    """The nodes are told as they are."""
    async with places(2) as (here, there):
        await here.client("ann", "a", "room:1")
        await there.client("ann", "room:2")
        survey = await here.orders.survey("room:")
        assert survey.channels == {"room:1": 1, "room:2": 1}
        assert survey.clients == 2
        assert await here.orders.survey("none") == Survey(survey.nodes, {})


async def test_the_nodes_of_a_hub_are_known_without_asking() -> None:
    """Of the others what they said last; of oneself what is."""
    async with places(2) as (here, there):
        assert {node.id for node in here.node.cluster.nodes} == {here.node.id, there.node.id}
        await here.client("ann", "a")
        me, other = here.node.cluster.nodes
        assert (me.id, me.clients, me.subscriptions, other.clients) == (here.node.id, 1, 1, 0)
        assert me.process == here.node.process
        assert here.node.id.isalnum()
