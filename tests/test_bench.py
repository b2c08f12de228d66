"""The benchmark's load generator: built from its sources, right about what was delivered, and loud about what was not.

No figure is tested here, only that there is one. It needs Linux and a C compiler, `cc`.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import report, turns
from bench.__main__ import main
from bench.generator import Generator, Result
from bench.history import exported
from bench.measures import Bench, Kept, Pair, Size
from bench.peers import MEASURES, PEERS, Peer, at
from bench.running import ROOT, Failed, serving
from openline import Hub

FAULTY = Path(__file__).parent / "faulty_server.py"
PAGE = ROOT / "docs" / "benchmarks.md"
LINES = 4
MESSAGES = 8


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """The generator, built."""
    return Generator(tmp_path_factory.mktemp("load"))


def peer(key: str) -> Peer:
    """One of those that `make bench` measures."""
    (found,) = (one for one in PEERS if one.key == key)
    return found


def faulty(fault: str) -> Peer:
    """A server with a fault; see `tests/faulty_server.py`."""
    return Peer(
        key=fault,
        name="Faulty",
        command=(sys.executable, str(FAULTY), "{port}", fault),
        steps=(("", "welcome"),) if fault == "greets" else (),
        ping="ping",
        pong="pong",
    )


@pytest.mark.parametrize("key", ["openline", "openline-history", "openline-one-frame"])
def test_every_delivery_is_counted(generator: Generator, key: str) -> None:
    """Each line hears each message: that many deliveries, none missing, and a figure for everything."""
    with serving(peer(key)) as server:
        result = generator.run(server, lines=LINES, messages=MESSAGES, window=3)

    assert (result.lines, result.messages, result.window) == (LINES, MESSAGES, 3)
    assert (result.deliveries, result.missing) == (LINES * MESSAGES, 0)
    assert result.bytes > 64
    assert result.open_us > 0
    assert result.cpu_us > 0
    assert 0 < result.p50_ms <= result.p99_ms


def test_lines_may_be_opened_and_nothing_more(generator: Generator) -> None:
    """For the cost of a handshake, and of an idle connection."""
    with serving(peer("openline")) as server:
        result = generator.run(server, lines=LINES)

    assert result.open_us > 0
    assert result.messages == 0


def test_one_frozen_line_beside_the_others_is_kept(generator: Generator) -> None:
    """The others hear everything, while data waits for the one that never reads."""
    with serving(peer("openline")) as server:
        frozen = generator.run(server, lines=LINES, messages=MESSAGES, extra="frozen")
        reading = generator.run(server, lines=LINES, messages=MESSAGES, extra="reading")

    assert frozen.deliveries == reading.deliveries == LINES * MESSAGES
    assert frozen.filled_bytes > 100_000
    assert frozen.held
    assert not reading.held


def test_missing_deliveries_are_a_failure(generator: Generator) -> None:
    """What is published where nobody listens is delivered to nobody."""
    elsewhere = dataclasses.replace(peer("openline"), publish='{"id":3,"publish":{"channel":"plain:b","data":"%s"}}')
    with serving(elsewhere) as server:
        with pytest.raises(Failed, match="4 of 4 deliveries are missing"):
            generator.run(server, lines=4, messages=1, stall_seconds=0.3)
        result = generator.run(server, lines=4, messages=1, stall_seconds=0.3, may_miss=True)

    assert (result.deliveries, result.missing) == (0, 4)


def test_a_line_that_may_not_subscribe_is_a_failure(generator: Generator) -> None:
    """What it was told stands in the message."""
    wrong = dataclasses.replace(peer("openline-one-frame"), steps=(('{"id":1,"connect":{}}', '"subscribe":{'),))
    with (
        serving(wrong) as server,
        pytest.raises(Failed, match=r'line 0 does not open; it last heard \{"id":1,"connect"'),
    ):
        generator.run(server, lines=1, stall_seconds=0.3)


def test_a_refused_handshake_is_a_failure(generator: Generator) -> None:
    """The server's answer stands in the message."""
    lost = dataclasses.replace(peer("openline"), path="/nowhere")
    with serving(lost) as server, pytest.raises(Failed, match=r"the handshake is answered with HTTP/1\.1 403"):
        generator.run(server, lines=1)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("loses", "line 3: message 3 should be"),
        ("repeats", "line 3(: message 4 should be| has heard more than was said)"),
        ("swaps", "line 3: message 3 should be"),
        ("closes", "line 3 is closed by the server: 1012 no more"),
    ],
)
def test_one_wrong_delivery_is_a_failure(generator: Generator, fault: str, told: str) -> None:
    """Every line has to hear every message, once and in order: the sum being right is not enough."""
    with serving(faulty(fault)) as server, pytest.raises(Failed, match=told):
        generator.run(server, lines=LINES, messages=MESSAGES, window=4, stall_seconds=1)


@pytest.mark.parametrize("fault", ["pieces", "large", "pings", "greets"])
def test_whatever_comes_in_whatever_pieces_is_read(generator: Generator, fault: str) -> None:
    """Headers, marks and pings cut anywhere, messages longer than the buffer, pings that want their answer."""
    with serving(faulty(fault)) as server:
        result = generator.run(server, lines=LINES, messages=MESSAGES, window=4)

    assert result.deliveries == LINES * MESSAGES


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["openline-publish", "openline-rpc", "echo"])
def test_every_answer_is_counted(generator: Generator, key: str) -> None:
    """Each line asks so many commands and hears as many answers, however many are in flight."""
    with serving(peer(key)) as server:
        result = generator.run(server, lines=LINES, messages=MESSAGES, window=3)

    assert (result.lines, result.messages, result.window) == (LINES, MESSAGES, 3)
    assert (result.deliveries, result.missing) == (LINES * MESSAGES, 0)
    assert result.cpu_us > 0
    assert 0 < result.p50_ms <= result.p99_ms


def asked(fault: str) -> Peer:
    """A server with a fault, whose only client hears what it said itself: an echo."""
    return dataclasses.replace(faulty(fault), ask="# said", answer="# ")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("loses", "line 0: an answer should begin with 4  and is 5 said"),
        ("repeats", "line 0(: an answer should begin with 5  and is 4 said| has heard more than it asked)"),
        ("swaps", "line 0: an answer should begin with 4  and is 5 said"),
        ("closes", "line 0 is closed by the server: 1012 no more"),
    ],
)
def test_one_wrong_answer_is_a_failure(generator: Generator, fault: str, told: str) -> None:
    """Every command has to be answered, once and in order."""
    with serving(asked(fault)) as server, pytest.raises(Failed, match=told):
        generator.run(server, lines=1, messages=MESSAGES, window=4, stall_seconds=1)


def test_missing_answers_are_a_failure(generator: Generator) -> None:
    """With one command in flight nothing is asked behind the one that stays unanswered."""
    with serving(asked("loses")) as server, pytest.raises(Failed, match="5 of 8 deliveries are missing"):
        generator.run(server, lines=1, messages=8, stall_seconds=0.3)


def test_a_refused_command_is_a_failure(generator: Generator) -> None:
    """An error is no answer: else it would be the fastest."""
    unknown = dataclasses.replace(peer("openline-rpc"), ask='{"id":#,"rpc":{"method":"nothing"}}')
    told = r'an answer should begin with \{"id":3,"rpc":\{"data":"xxxxxxxx and is \{"id":3,"error":\{"code":104'
    with serving(unknown) as server, pytest.raises(Failed, match=told):
        generator.run(server, lines=1, messages=1)


def test_answers_in_pieces_are_read(generator: Generator) -> None:
    """Cut anywhere, as deliveries are."""
    with serving(asked("pieces")) as server:
        result = generator.run(server, lines=1, messages=MESSAGES, window=4)

    assert result.deliveries == MESSAGES


# --- memory -------------------------------------------------------------------------------------------------------


def test_what_idle_connections_keep_is_counted_while_they_are_open(generator: Generator) -> None:
    """By source file; a server that is not asked to does not count."""
    size = Size(rounds=1, frozen_rounds=1, lines=1, many_lines=1, idle_lines=50, handshakes=1, seconds=1)
    with Bench(generator, [peer("openline"), peer("openline-history")], size) as bench:
        found = bench.memory()

    assert list(found) == ["openline"]
    assert found["openline"].lines == 50
    assert found["openline"].bytes["openline/session.py"] > 100


def test_lines_that_were_held_are_let_go(generator: Generator) -> None:
    """What they kept is free again, once the block has ended."""
    with serving(peer("openline"), traced=True) as server:
        with generator.holding(server, lines=50):
            held = server.account()
        let_go = server.account()

    assert held["openline/session.py"] > 50 * 100
    assert let_go.get("openline/session.py", 0) < 50


def test_a_server_that_does_not_count_is_a_failure() -> None:
    """Only one that was started for it counts: that costs too much to be measured otherwise."""
    with serving(peer("openline")) as server, pytest.raises(Failed, match="keeps no account of its memory"):
        server.account()


def test_lines_that_cannot_be_held_are_a_failure(generator: Generator) -> None:
    """Before anything is counted."""
    lost = dataclasses.replace(peer("openline"), path="/nowhere")
    with (
        serving(lost) as server,
        pytest.raises(Failed, match="the handshake is answered with"),
        generator.holding(server, lines=1),
    ):
        pytest.fail("the lines were held")


# --- Openline as it was -------------------------------------------------------------------------------------------


def test_the_sources_of_a_commit_are_what_they_were(tmp_path: Path) -> None:
    """Whatever has been changed since; the folder is there as long as it is needed."""
    source = tmp_path / "src" / "file.py"
    source.parent.mkdir()
    source.write_text("then")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    source.write_text("now")

    with exported("HEAD", tmp_path) as sources:
        assert (sources / "file.py").read_text() == "then"
    assert not sources.exists()


def test_a_commit_that_does_not_exist_is_a_failure() -> None:
    """It is named."""
    with pytest.raises(Failed, match="git has no sources at no-such-commit"), exported("no-such-commit"):
        pass


def test_a_peer_of_a_commit_runs_its_sources(generator: Generator, tmp_path: Path) -> None:
    """Not those of this folder: the version it tells its clients is another."""
    shutil.copytree(ROOT / "src" / "openline", tmp_path / "openline", ignore=shutil.ignore_patterns("static"))
    (tmp_path / "openline" / "version.py").write_text('VERSION = "0.0.9"\n')
    before = dataclasses.replace(
        at(peer("openline"), "v0.0.9", tmp_path), steps=(('{"id":1,"connect":{}}', '"version":"0.0.9"'),)
    )
    with serving(before) as server:
        result = generator.run(server, lines=1, stall_seconds=5)

    assert result.lines == 1
    assert before.name == "Openline at v0.0.9"


# --- a turn -------------------------------------------------------------------------------------------------------


async def test_the_messages_of_a_turn_are_one_write() -> None:
    """So that what is measured of a turn is a turn, whatever the number of its messages."""
    hub = Hub()
    hub.channel("plain:{name}")
    async with hub.running(), turns.subscribed(hub, "plain:a", 3) as last:
        before = last.writes
        await turns.turn_us(hub, "plain:a", last, 4)

    assert last.writes == before + turns.TURNS


def test_the_generator_says_when_it_does_not_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C compiler nothing is measured."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Failed, match="there is no C compiler here"):
        Generator(tmp_path)


def test_a_server_that_does_not_start_is_a_failure() -> None:
    """It is named."""
    with pytest.raises(Failed, match="the server of Faulty did not start"), serving(faulty("dies")):
        pass


def test_every_peer_has_a_name_and_a_place_of_its_own() -> None:
    """`--only` can tell peers and measures apart."""
    words = [one.key for one in PEERS] + list(MEASURES)

    assert len(set(words)) == len(words)
    assert len({one.name for one in PEERS}) == len(PEERS)


# --- the tables ---------------------------------------------------------------------------------------------------


def result(*, cpu_us: float = 1, p99_ms: float = 1, missing: int = 0) -> Result:
    """One round's."""
    return Result(
        lines=LINES,
        open_seconds=1,
        open_us=1,
        kib=1,
        window=1,
        cpu_us=cpu_us,
        p99_ms=p99_ms,
        missing=missing,
        held=True,
    )


def heads(text: str) -> set[str]:
    """What stands at the top of each table."""
    lines = text.splitlines()
    return {head for head, rule in itertools.pairwise(lines) if rule.startswith("| ---")}


def test_the_page_has_the_tables_that_are_printed() -> None:
    """So that a run can be put there as it is."""
    rounds = {"uwebsockets": [result()]}
    pairs = {"uwebsockets": [Pair(reading=result(), frozen=result())]}
    printed = [report.idle(rounds), report.handshake(rounds), report.delivery(rounds), report.frozen(pairs)]
    printed += [report.commands(rounds), report.memory({"openline": Kept(lines=LINES, bytes={}, kib=1)})]
    _, _, results = PAGE.read_text().partition("\n## Results\n")

    assert heads(results.partition("\n## ")[0]) <= set().union(*map(heads, printed))


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    """A slow minute of the machine hits both sides of it."""
    fast, other = ([result(cpu_us=value) for value in values] for values in ((1, 8, 2), (2, 16, 5)))

    table = report.delivery({"uwebsockets": fast, "openline": other})

    assert "| uWebSockets (C++) | 2.00 | 1.00 |" in table
    assert "| Openline | 5.00 | 2.00 |" in table


def test_what_was_is_beside_what_is() -> None:
    """With the ratio of each round's own."""
    then, now = ([result(cpu_us=value) for value in values] for values in ((4, 20, 8), (2, 5, 6)))
    rounds = {"uwebsockets": now, "openline-rpc": now, "openline-rpc@v1": then}

    table = report.against("v1", [("commands", "commands, one session", rounds)])

    assert table.splitlines()[4:] == ["| commands, one session: CPU µs | Openline, rpc | 8.00 | 5.00 | 0.50 |"]


def test_the_files_that_keep_most_are_named() -> None:
    """Twelve of them, the rest in one row; Openline as it was has a column of its own."""
    kept = {f"openline/{letter}.py": 10.0 * (1 + place) for place, letter in enumerate("abcdefghijklmn")}

    table = report.memory(
        {
            "openline": Kept(lines=LINES, bytes=kept, kib=2),
            "openline@v1": Kept(lines=LINES, bytes={"openline/n.py": 150, "openline/gone.py": 1}, kib=1),
        }
    )

    head, _, first, *_, others, counted, resident = table.splitlines()[2:]
    assert head == "| file | Openline | Openline at v1 |"
    assert first == "| openline/n.py | 140 | 150 |"
    assert others == "| all others | 30 | 1 |"
    assert counted == "| all that Python counts | 1,050 | 151 |"
    assert resident == "| resident, not counting | 2,048 | 1,024 |"


def test_without_what_it_refers_to_there_is_no_ratio() -> None:
    """With `--only` the reference may be left out."""
    assert "| Openline | 1.00 | - |" in report.delivery({"openline": [result()]})


def test_a_server_that_stands_still_has_no_latency() -> None:
    """One frozen client that stops all others is no ratio of anything."""
    one = Pair(reading=result(p99_ms=2), frozen=result(missing=1))
    other = Pair(reading=result(p99_ms=2), frozen=result(p99_ms=3))

    table = report.frozen({"connection-manager": [one], "openline": [other]})

    assert "| FastAPI's ConnectionManager | 2.0 | all stand still | - | kept |" in table
    assert "| Openline | 2.0 | 3.0 | 1.50 | kept |" in table


def test_an_unknown_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "openline,speed"])

    with pytest.raises(SystemExit, match="--only knows no speed"):
        main()


def test_an_unknown_commit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(sys, "argv", ["bench", "--against", "no-such-commit"])

    with pytest.raises(SystemExit, match="bench: git has no sources at no-such-commit"):
        main()
