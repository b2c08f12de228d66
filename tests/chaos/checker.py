"""What of a run is wrong: lost, repeated, out of order, told without need. Pure: from what was recorded, no I/O.

The rules, for every subscriber in every channel:

1. Every acknowledged message after the place where it entered was seen, once.
2. Those of one publisher were seen in the order in which it wrote them, and offsets grew.
3. What was seen of an acknowledged message stood at the place that was acknowledged.
4. Whoever is told (`recovered: false`) begins anew: what lies between the last they saw and the place they go on from
   may be missing, and what comes after may have been seen before. Nothing else may be missing, and this is counted.
5. Being told is right only where history did not reach back far enough, or where the subscriber had seen the tail that
   a failover lost: then its place is that of no acknowledged message. Whether these may occur is said by the caller.

And for the publishers: no place is given twice, and those of one publisher's messages grow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from tests.chaos.record import Entered, Name, Place, Record, Saw, Written

#: What can be wrong. "told" is wrong only where nothing excuses it.
Kind = Literal["lost", "repeated", "out of order", "told", "never written"]

#: Findings kept in words; the rest are only counted.
SHOWN_FINDINGS: Final = 20


@dataclass(slots=True)
class Verdict:
    """What was found in one run."""

    counts: dict[Kind, int] = field(default_factory=lambda: defaultdict(int))
    findings: list[str] = field(default_factory=list)  #: the first of them, in words
    acknowledged: int = 0
    given_up: int = 0  #: messages nobody acknowledged
    told: int = 0  #: times a subscriber was told, rightly or not
    told_lost_tail: int = 0  #: of these, those who stood at a place that was never acknowledged
    silence: float = 0.0  #: the longest time in which a subscriber saw nothing in one channel; seconds
    silent: str = ""  #: who that was, and when

    @property
    def right(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.counts.values())

    def find(self, kind: Kind, record: Record | None, what: str) -> None:
        """Count something that is wrong."""
        self.counts[kind] += 1
        if len(self.findings) < SHOWN_FINDINGS:
            who = f"{record.subscriber} in {record.channel}: " if record else ""
            self.findings.append(f"{kind}: {who}{what}")


@dataclass(slots=True)
class _Span:
    """Part of one epoch of which nothing may be missing: after the first offset, up to the second."""

    epoch: str
    first: int
    end: int
    open: bool = False  #: to whatever end


@dataclass(slots=True)
class _Segment:
    """What a subscriber saw between two times it was told."""

    start: Place
    seen: list[Saw] = field(default_factory=list)
    last: bool = True  #: it was not told after this
    spans: list[_Span] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The offset at which it stood in the end."""
        return self.seen[-1].offset if self.seen else self.start.offset


def judge(
    written: Iterable[Written],
    records: Iterable[Record],
    *,
    may_be_told: bool = False,
    tail_may_be_lost: bool = False,
) -> Verdict:
    """Judge a run.

    Args:
        written: all messages, in the order in which each publisher wrote them.
        records: of subscribers that all entered before the first message they are to see.
        may_be_told: history does not cover what was missed, or was lost: anybody may be told.
        tail_may_be_lost: there was a failover: whoever saw what was never acknowledged may be told.
    """
    verdict = Verdict()
    channels: dict[str, list[Written]] = defaultdict(list)
    for message in written:
        channels[message.channel].append(message)
    for channel, messages in channels.items():
        _check_places(verdict, channel, messages)
    judges = {channel: _Judge(verdict, messages, channel) for channel, messages in channels.items()}
    nothing: Sequence[Written] = ()
    for record in records:
        judge_of_channel = judges.get(record.channel) or _Judge(verdict, nothing, record.channel)
        judge_of_channel.judge(record, may_be_told=may_be_told, tail_may_be_lost=tail_may_be_lost)
    return verdict


def _check_places(verdict: Verdict, channel: str, messages: Sequence[Written]) -> None:
    """Check what the publishers were told."""
    owners: dict[Place, Name] = {}
    newest: dict[tuple[int, str], int] = {}
    for message in messages:
        place = message.place
        if place is None:
            verdict.given_up += 1
            continue
        verdict.acknowledged += 1
        if place in owners:
            verdict.find("repeated", None, f"{channel}: {place} was given to {owners[place]} and to {message.name}")
        owners[place] = message.name
        stream = (message.name.publisher, place.epoch)
        if place.offset <= newest.get(stream, 0):
            what = f"{channel}: {message.name} was given {place}, and one before it {newest[stream]}"
            verdict.find("out of order", None, what)
        newest[stream] = max(place.offset, newest.get(stream, 0))


class _Judge:
    """Judges the subscribers of one channel."""

    def __init__(self, verdict: Verdict, messages: Sequence[Written], channel: str) -> None:
        self._verdict = verdict
        self._channel = channel
        self._written: Mapping[Name, Written] = {message.name: message for message in messages}
        acknowledged = [message for message in messages if message.place is not None]
        acknowledged.sort(key=lambda message: message.acknowledged_at)
        self._acknowledged: list[tuple[Name, Place]] = []
        self._places: set[Place] = set()
        #: Epochs in the order in which they began, as the publishers were told.
        self._epochs: dict[str, int] = {}
        for message in acknowledged:
            assert message.place is not None
            self._acknowledged.append((message.name, message.place))
            self._places.add(message.place)
            self._epochs.setdefault(message.place.epoch, len(self._epochs))
        self._ended_at = max((message.acknowledged_at for message in acknowledged), default=0.0)

    def judge(self, record: Record, *, may_be_told: bool, tail_may_be_lost: bool) -> None:
        """Judge one subscriber."""
        verdict = self._verdict
        segments: list[_Segment] = []
        for event in record.events:
            if isinstance(event, Entered):
                if event.told:
                    lost_tail = self._count_told(segments)
                    if not (may_be_told or (tail_may_be_lost and lost_tail)):
                        verdict.find("told", record, f"without need, at {event.at:.2f} s: goes on from {event.place}")
                if event.told or not segments:
                    if segments:
                        segments[-1].last = False
                    segments.append(_Segment(event.place))
            elif isinstance(event, Saw):
                if not segments:
                    verdict.find("out of order", record, f"{event.name} was seen before the subscription began")
                    segments.append(_Segment(Place("", 0)))
                segments[-1].seen.append(event)
        for segment in segments:
            self._check_segment(record, segment)
        self._check_whole(record, segments)
        self._measure_silence(record)

    def _count_told(self, segments: Sequence[_Segment]) -> bool:
        """Count one that was told; say whether it had seen what was never acknowledged."""
        self._verdict.told += 1
        if not segments:
            return False
        segment = segments[-1]
        stood = Place(segment.start.epoch, segment.end)
        lost_tail = stood != segment.start and stood not in self._places
        self._verdict.told_lost_tail += lost_tail
        return lost_tail

    def _check_segment(self, record: Record, segment: _Segment) -> None:
        """Check what was seen for itself; find out of what nothing may be missing."""
        verdict = self._verdict
        seen: set[Name] = set()
        newest: dict[int, int] = {}
        span = _Span(segment.start.epoch, segment.start.offset, segment.start.offset)
        segment.spans.append(span)
        for saw in segment.seen:
            message = self._written.get(saw.name)
            if message is None:
                verdict.find("never written", record, f"{saw.name} at offset {saw.offset}")
                continue
            if saw.name in seen:
                verdict.find("repeated", record, f"{saw.name} again, at offset {saw.offset}, {saw.at:.2f} s")
                continue
            seen.add(saw.name)
            place = message.place
            if place is not None and place.offset == saw.offset and place.epoch != span.epoch:
                # It was not told that another epoch began, so nothing may be missing on either side.
                span.open = True
                span = _Span(place.epoch, 0, 0)
                segment.spans.append(span)
            elif place is not None and place.offset != saw.offset and segment.last:
                # Else it was told afterwards: it had seen what a failover lost, and what may have been written anew.
                what = f"{saw.name} was seen at offset {saw.offset} and acknowledged at {place}"
                verdict.find("out of order", record, what)
            if saw.offset <= span.end:
                verdict.find("out of order", record, f"offset {saw.offset} came after {span.end}, {saw.at:.2f} s")
            span.end = max(span.end, saw.offset)
            if place is not None:
                publisher, number = saw.name
                if number < newest.get(publisher, 0):
                    verdict.find("out of order", record, f"{saw.name} came after number {newest[publisher]}")
                newest[publisher] = max(number, newest.get(publisher, 0))
        span.open = segment.last

    def _check_whole(self, record: Record, segments: Sequence[_Segment]) -> None:
        """Look for what had to be seen and was not."""
        if not segments:
            if self._acknowledged:
                self._verdict.find("lost", record, f"all {len(self._acknowledged)}: it never got in")
            return
        seen = {saw.name for segment in segments for saw in segment.seen}
        for name, place in self._acknowledged:
            if name not in seen and self._is_due(place, segments):
                at = self._written[name].acknowledged_at
                self._verdict.find("lost", record, f"{name} at {place}, acknowledged at {at:.2f} s")

    def _is_due(self, place: Place, segments: Sequence[_Segment]) -> bool:
        """Tell whether a message at this place had to be seen by who saw these segments."""
        spans = [span for segment in segments for span in segment.spans if span.epoch == place.epoch]
        if spans:
            return any(span.first < place.offset and (span.open or place.offset <= span.end) for span in spans)
        # Nobody was told when this epoch began, so it has to be there, save where it lies between two that were told.
        newest = self._epochs.get(segments[-1].start.epoch, -1)
        return self._epochs[place.epoch] > newest

    def _measure_silence(self, record: Record) -> None:
        times = [event.at for event in record.events if isinstance(event, Saw)]
        if times:
            times.append(max(self._ended_at, times[-1]))
        for earlier, later in pairwise(times):
            if later - earlier > self._verdict.silence:
                self._verdict.silence = later - earlier
                self._verdict.silent = f"{record.subscriber} in {record.channel}, from {earlier:.1f} s on"
