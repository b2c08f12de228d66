"""What an app declares on its hub, before it starts: the channels of each pattern, and the handlers outside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from openline.channel import Channel
from openline.errors import DeclarationError
from openline.following import Following
from openline.handlers import Handler
from openline.names import Pattern
from openline.node import Node
from openline.options import ChannelOptions, History, JoinLeave, Recovery, Slow
from openline.payload import Payload
from openline.reception import Reception
from openline.rules import ChannelRules

Message = TypeVar("Message")
Function = TypeVar("Function", bound=Callable[..., Any])


class Declarations:
    """The part of a hub that takes declarations and hands them to its `Reception`."""

    def __init__(self, node: Node, reception: Reception, following: Following) -> None:
        self._node = node
        self._reception = reception
        self._following = following

    @overload
    def channel(
        self,
        pattern: str,
        message: type[Message],
        *,
        history: History | None = ...,
        recovery: Recovery = ...,
        presence: bool = ...,
        join_leave: JoinLeave = ...,
        publish: bool = ...,
        protected: bool = ...,
        slow: Slow = ...,
        delta: bool = ...,
        filters: bool = ...,
    ) -> Channel[Message]: ...

    @overload
    def channel(
        self,
        pattern: str,
        message: None = None,
        *,
        history: History | None = ...,
        recovery: Recovery = ...,
        presence: bool = ...,
        join_leave: JoinLeave = ...,
        publish: bool = ...,
        protected: bool = ...,
        slow: Slow = ...,
        delta: bool = ...,
        filters: bool = ...,
    ) -> Channel[Any]: ...

    def channel(
        self,
        pattern: str,
        message: Any = None,
        *,
        history: History | None = None,
        recovery: Recovery = "stream",
        presence: bool = False,
        join_leave: JoinLeave = False,
        publish: bool = False,
        protected: bool = False,
        slow: Slow = "disconnect",
        delta: bool = False,
        filters: bool = False,
    ) -> Channel[Any]:
        """Declare the channels of one pattern.

        Args:
            pattern: a name whose placeholders match one part (``room:{name}``) or the rest (``files:{path:path}``).
            message: any type Pydantic validates; None for any JSON, ``bytes`` for raw payloads.
            history: how much is kept for those who come back; None keeps nothing.
            recovery: "stream" brings every subscriber all it missed, "cache" the newest publication, "asked" lets
                clients choose. Only with history.
            presence: clients may ask who is here.
            join_leave: clients that ask for it are told who comes and goes; with "forced" all that subscribe are.
            publish: clients may publish without an `on_publish` handler; the message is validated all the same. Where
                `on_subscribe` or a token guards the channel, only those who are subscribed may.
            protected: clients need a subscription token.
            slow: what becomes of a client that does not keep up: "disconnect" closes it with 3008, and it resumes;
                "drop_oldest" and "latest_only" drop publications for it instead, and are counted. Those two only
                without history, as who recovers is promised everything. Joins and leaves are never dropped.
            delta: clients that ask for it are sent what has changed since the publication before, where that is
                shorter. Only with history.
            filters: clients may say by tags which publications they want; others are not sent to them.
        Raises:
            DeclarationError: the pattern is none, was declared before, or an option cannot work.
        """
        auth, now = self._reception.auth, self._node.clock.wall
        if protected and auth is None:
            raise DeclarationError(f"channel {pattern!r} is protected, but the hub has no auth to verify tokens with")
        options = ChannelOptions(
            raw=message is bytes,
            history=history,
            recovery=recovery,
            presence=presence,
            join_leave=join_leave,
            protected=protected,
            slow=slow,
            delta=delta,
            filters=filters,
        )
        rules = ChannelRules(Pattern(pattern), Payload(message), options, publish=publish, auth=auth, now=now)
        channel: Channel[Any] = Channel(self._node, rules, self._following)
        self._reception.declare(rules)
        return channel

    def on_connect(self, function: Function) -> Function:
        """Decide on each client that wants to connect, after its token was verified.

        The handler takes the `Session`, the client's ``data``, ``token: str``, ``name: str``, ``version: str``,
        ``headers: dict[str, str]`` (in place of those that browsers do not let a page send; the client's word alone),
        ``channels: list[str]`` (it has positions in, or asks for) and what FastAPI injects. It returns None (who the
        token said, else anonymous), a user id, or `Accept`, or raises to refuse.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.connecting, "on_connect")
        supplied = {"token": str, "name": str, "version": str, "headers": dict[str, str], "channels": list[str]}
        self._reception.connecting = Handler(
            function, where="on_connect", message=Payload(None), message_name="data", supplied=supplied
        )
        return function

    def on_refresh(self, function: Function) -> Function:
        """Decide on each connection that runs out, as `Accept` said when; without a handler it ends with 3005.

        Connections by token are not asked about: their clients bring a new token. The handler has
        ``limits.expiry_grace_seconds`` to answer, at least 5, and is asked about one connection once at a time.

        It takes the `Session` and what FastAPI injects. It returns a new expiry (unix seconds, or an aware datetime),
        `Accept` of an expiry, info and meta, or None: the connection ends, as it does when the handler raises.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.refreshing, "on_refresh")
        self._reception.refreshing = Handler(function, where="on_refresh")
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Hear of each connection that has ended, after it was accepted.

        Once for each that `on_connect` said yes to, also where the client was gone by then or did not get in after
        all; without `on_connect`, for each that was connected.

        The handler takes the `Session`, ``code: int``, ``reason: str`` and what FastAPI injects.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.disconnecting, "on_disconnect")
        self._reception.disconnecting = Handler(function, where="on_disconnect", supplied={"code": int, "reason": str})
        return function

    def on_message(self, function: Function) -> Function:
        """Take messages that clients send outside every channel; without a handler they are disconnected for it.

        The handler takes the message, the `Session` and what FastAPI injects. What it returns goes nowhere.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.messaging, "on_message")
        self._reception.messaging = Handler(function, where="on_message", message=Payload(None))
        return function

    def rpc(self, method: str = "") -> Callable[[Function], Function]:
        """Answer a remote procedure call: what the handler returns is the reply.

        The handler takes the client's data as its message, ``method: str``, the `Session` and what FastAPI injects.

        Args:
            method: "" is every method that has no handler of its own.

        Raises:
            DeclarationError: a parameter is none of these, or the method has a handler already.
        """

        def declare(function: Function) -> Function:
            self._refuse_second(self._reception.procedures.get(method), f"rpc {method!r}")
            where = f"rpc {method!r}"
            procedure = Handler(function, where=where, message=Payload(None), supplied={"method": str})
            self._reception.declare_procedure(method, procedure)
            return function

        return declare

    @staticmethod
    def _refuse_second(handler: Handler | None, event: str) -> None:
        if handler is not None:
            raise DeclarationError(f"the hub has a handler of {event} already: {handler!r}")
