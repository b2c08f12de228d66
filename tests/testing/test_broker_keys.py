"""Checks of repeats and versions: brokers that publish again, refuse too much or forget too late are caught."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openline.publication import Position
from tests.brokers.plain import PlainBroker, PlainStore, PlainStream
from tests.testing.broken import problems_of


class _IgnoresKeys(PlainStore):
    def repeated(self, name: object) -> Position | None:
        return None


class _KeysOfTheNode(PlainStore):
    """Knows a key only where it was used."""

    def key_name(self, node: PlainBroker, channel: str, key: str) -> object:
        return (self.nodes.index(node), channel, key)


class _KeysOfAllChannels(PlainStore):
    def key_name(self, node: PlainBroker, channel: str, key: str) -> object:
        return key


class _TopForARepeat(PlainBroker):
    """Publishes once, but tells where the stream stands now."""

    async def publish(self, channel: str, data: bytes, **options: Any) -> Position:
        position = await super().publish(channel, data, **options)
        stream = self.store.streams.get(channel)
        return position if position == Position.NONE or stream is None else self.store.top(stream)


class _NothingForARepeat(PlainStore):
    def repeated(self, name: object) -> Position | None:
        return None if super().repeated(name) is None else Position.NONE


class _EmptyKeysCount(PlainBroker):
    async def publish(self, channel: str, data: bytes, *, idempotency_key: str = "", **options: Any) -> Position:
        key = idempotency_key or "none"
        return await super().publish(channel, data, idempotency_key=key, **options)


class _LooksThenPublishes(PlainBroker):
    """Lets others have their turn between looking for the key and publishing."""

    async def publish(self, channel: str, data: bytes, *, idempotency_key: str = "", **options: Any) -> Position:
        name = self.store.key_name(self, channel, idempotency_key)
        first = self.store.repeated(name) if idempotency_key else None
        if first is not None:
            return first
        await asyncio.sleep(0)
        position = await super().publish(channel, data, **options)
        self.store.keys[name] = (self.store.now(), position)
        return position


class _NoKeysWithoutHistory(PlainBroker):
    async def publish(self, channel: str, data: bytes, *, idempotency_key: str = "", **options: Any) -> Position:
        key = idempotency_key if options["history"] else ""
        return await super().publish(channel, data, idempotency_key=key, **options)


class _NeverForgetsAKey(PlainStore):
    def repeated(self, name: object) -> Position | None:
        return self.keys[name][1] if name in self.keys else None


class _ForgetsAKeyTooSoon(PlainStore):
    def repeated(self, name: object) -> Position | None:
        return super().repeated(name) if name in self.keys and self.now() - self.keys[name][0] < 1 else None


class _RepeatsProlong(PlainStore):
    def repeated(self, name: object) -> Position | None:
        first = super().repeated(name)
        if first is not None:
            self.keys[name] = (self.now(), first)
        return first


@pytest.mark.parametrize(
    "broken",
    [
        _IgnoresKeys,
        _KeysOfTheNode,
        _KeysOfAllChannels,
        _TopForARepeat,
        _NothingForARepeat,
        _EmptyKeysCount,
        _LooksThenPublishes,
        _NoKeysWithoutHistory,
        _NeverForgetsAKey,
        _ForgetsAKeyTooSoon,
        _RepeatsProlong,
    ],
)
async def test_wrong_repeats_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """A key is published once in its channel for its time, on all nodes, and its repeats get the first position."""
    assert await problems_of("6 idempotency", broken)


class _IgnoresVersions(PlainStore):
    def outdated(self, stream: PlainStream, version: int, version_epoch: str) -> bool:
        return False


class _TakesTheSameVersionTwice(PlainStore):
    def outdated(self, stream: PlainStream, version: int, version_epoch: str) -> bool:
        return super().outdated(stream, version + 1, version_epoch) if version else False


class _ComparesAcrossEpochs(PlainStore):
    def outdated(self, stream: PlainStream, version: int, version_epoch: str) -> bool:
        return 0 < version <= stream.version


class _NoVersionIsTheOldest(PlainStore):
    def outdated(self, stream: PlainStream, version: int, version_epoch: str) -> bool:
        return version_epoch == stream.version_epoch and version <= stream.version and bool(stream.version)


class _NothingForAnOldVersion(PlainBroker):
    async def publish(self, channel: str, data: bytes, *, version: int = 0, **options: Any) -> Position:
        stream = self.store.streams.get(channel)
        if stream is not None and self.store.outdated(stream, version, options.get("version_epoch", "")):
            return Position.NONE
        return await super().publish(channel, data, version=version, **options)


class _CarriesOldVersions(PlainBroker):
    """Keeps no old version, but sends it."""

    async def publish(self, channel: str, data: bytes, *, version: int = 0, **options: Any) -> Position:
        stream = self.store.streams.get(channel)
        if stream is not None and self.store.outdated(stream, version, options.get("version_epoch", "")):
            await super().publish(channel, data, history=None)
        return await super().publish(channel, data, version=version, **options)


class _ForgetsTheVersionWithTheRest(PlainStore):
    def forget(self, channel: str) -> None:
        super().forget(channel)
        if channel in self.streams:
            self.streams[channel].version = 0


@pytest.mark.parametrize(
    "broken",
    [
        _IgnoresVersions,
        _TakesTheSameVersionTwice,
        _ComparesAcrossEpochs,
        _NoVersionIsTheOldest,
        _NothingForAnOldVersion,
        _CarriesOldVersions,
        _ForgetsTheVersionWithTheRest,
    ],
)
async def test_wrong_versions_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """An old version is neither kept nor carried and gets the top; anything else is published."""
    assert await problems_of("version", broken)
