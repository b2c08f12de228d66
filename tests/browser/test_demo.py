"""The demo in a real Chromium, against the real hub: what a visitor does, and what they see."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.server import DemoServer
from tests.browser.visitor import Visitor

Visit = Callable[..., Visitor]

PHONE = (360, 640)
TABLET = (820, 1100)
WIDE = (1280, 800)


def test_two_windows_talk(visit: Visit) -> None:
    """What one says both see, in one order, each under the right name."""
    ada, grace = visit("Ada"), visit("Grace")

    ada.say("Hello?")
    grace.reads(["Hello?"])
    grace.say("Hello, Ada.")

    ada.reads(["Hello?", "Hello, Ada."])
    grace.reads(["Hello?", "Hello, Ada."])
    expect(grace.page.locator(".message").first).to_contain_text("Ada")
    expect(ada.page.locator(".message").first).to_contain_text("You")


def test_what_was_missed_arrives_in_order(visit: Visit) -> None:
    """One line is cut while five messages are sent: it comes back, shows all five in order, and says so."""
    ada, grace = visit("Ada"), visit("Grace")
    ada.say("before")
    grace.reads(["before"])
    missed = [f"missed {number}" for number in range(1, 6)]

    grace.cut()
    ada.say(*missed)
    ada.reads(["before", *missed])
    expect(grace.messages).to_have_text(["before"])
    grace.mend()

    expect(grace.badge).to_have_text("Recovered 5 messages")
    grace.reads(["before", *missed])
    expect(grace.page.get_by_role("list", name="What happened").get_by_role("listitem")).to_contain_text(
        ["Recovered 5 messages", "5 came after", "Recovering", "Connecting", "Cut", "Open", "Connecting"]
    )
    ada.say("after")
    grace.reads(["before", *missed, "after"])


def test_line_that_missed_nothing_says_so(visit: Visit) -> None:
    """A cut in which nobody spoke is mended without a message."""
    ada = visit("Ada")
    ada.say("alone")
    ada.reads(["alone"])

    ada.cut()
    ada.mend()

    expect(ada.badge).to_have_text("Recovered: nothing was missed")
    ada.reads(["alone"])


def test_what_is_said_on_a_cut_line_waits_and_is_said_once(visit: Visit) -> None:
    """Words written while the line is cut wait, come after what was missed, and reach the others once."""
    ada, grace = visit("Ada"), visit("Grace")

    grace.cut()
    grace.say("I", "was away")
    expect(grace.drafts).to_have_text(["I", "was away"])
    ada.say("Where are you?")
    ada.reads(["Where are you?"])
    grace.mend()

    ada.reads(["Where are you?", "I", "was away"])
    grace.reads(["Where are you?", "I", "was away"])
    expect(grace.drafts).to_have_count(0)


def test_presence_follows_a_closed_tab(visit: Visit) -> None:
    """Who comes in is listed everywhere, and who closes their tab is listed nowhere."""
    ada = visit("Ada")
    ada.sees(["Ada"])
    grace = visit("Grace")
    ada.sees(["Ada", "Grace"])
    grace.sees(["Ada", "Grace"])

    grace.close()

    ada.sees(["Ada"])
    expect(ada.page.locator(".note")).to_have_text(["Grace came in", "Grace left"])


def test_newcomer_sees_what_was_said(visit: Visit) -> None:
    """The room remembers: whoever comes in reads what was said before, oldest first."""
    ada = visit("Ada")
    ada.say("one", "two", "three")
    ada.reads(["one", "two", "three"])

    visit("Grace").reads(["one", "two", "three"])


def test_reload_keeps_the_visitor(visit: Visit) -> None:
    """A reloaded page is the same visitor in the same room: no door, and their own words on their own side."""
    ada = visit("Ada")
    ada.say("mine")
    ada.reads(["mine"])

    ada.page.reload()

    ada.reads(["mine"])
    expect(ada.page.locator(".message.mine")).to_have_count(1)
    ada.sees(["Ada"])


def test_others_see_who_types(visit: Visit) -> None:
    """Somebody writing is announced to the others until they have said it, and never to themselves."""
    ada, grace = visit("Ada"), visit("Grace")

    ada.words.press_sequentially("Well")

    expect(grace.page.locator("#typing")).to_have_text("Ada is typing…")
    expect(ada.page.locator("#typing")).to_be_empty()
    ada.words.press("Enter")
    grace.reads(["Well"])
    expect(grace.page.locator("#typing")).to_be_empty()


def test_new_room_is_news_to_everyone(visit: Visit, room: str) -> None:
    """A room opened by name is listed for all at once, and empty until somebody speaks in it."""
    ada, grace = visit("Ada"), visit("Grace")

    ada.page.get_by_label("Open a room").fill(f"Küche {room}")
    ada.page.get_by_role("button", name="Open").click()

    ada.in_room(f"kuche-{room}")
    ada.reads([])
    grace.room(f"kuche-{room}").click()
    grace.in_room(f"kuche-{room}")
    ada.sees(["Ada", "Grace"])


def test_unread_messages_of_another_room_are_counted(visit: Visit, room: str) -> None:
    """A room one is in but does not look at counts what is said there, until it is looked at."""
    ada, grace = visit("Ada"), visit("Grace")
    grace.room("lobby").click()
    grace.in_room("lobby")

    ada.say("psst", "are you there?")

    expect(grace.room(room)).to_have_text(f"{room}2 unread")
    expect(grace.page).to_have_title("(2) lobby · Openline")
    grace.room(room).click()
    grace.reads(["psst", "are you there?"])
    expect(grace.room(room)).to_have_text(room)


def test_keyboard_is_enough(browser: Browser, demo: DemoServer, room: str) -> None:
    """In by Enter, write, cut and mend the line, change rooms: all without a pointer."""
    page = browser.new_page()
    page.goto(f"{demo.address}/#{room}")
    expect(page.get_by_label("Your name here")).to_be_focused()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    words = page.get_by_role("textbox", name="Your message")
    expect(words).to_be_focused()
    expect(page.get_by_role("status")).to_have_attribute("data-state", "open")

    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(page.locator(".message .words")).to_have_text("first line\nsecond line", use_inner_text=True)

    page.keyboard.press("Tab")  # the button that sends
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Cut the line")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_attribute("data-state", "cut")
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_attribute("data-state", "recovered")

    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(words).to_be_focused()
    page.get_by_role("link", name="lobby").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="lobby")).to_be_visible()
    expect(words).to_be_focused()
    page.context.close()


def test_screen_reader_finds_its_way(visit: Visit) -> None:
    """The parts have landmarks and names; new messages and the line's state are announced."""
    page = visit("Ada").page

    expect(page.get_by_role("banner")).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Rooms")).to_be_visible()
    expect(page.get_by_role("complementary", name="People and line")).to_be_visible()
    expect(page.get_by_role("log", name="Messages")).to_have_attribute("aria-live", "polite")
    expect(page.get_by_role("status")).to_be_visible()
    expect(page.get_by_role("region", name="Here now")).to_be_visible()
    expect(page.get_by_role("region", name="The line")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "en"


def test_round_trip_is_measured(visit: Visit) -> None:
    """The second pane shows how long the hub takes to answer, and draws it."""
    page = visit("Ada").page

    expect(page.locator("#trip-now")).to_contain_text("ms")
    expect(page.locator(".trip-curve")).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+"))
    expect(page.get_by_role("img", name="Round trips of the last minute")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, TABLET, PHONE], ids=["wide", "tablet", "phone"])
def test_nothing_is_wider_than_the_window(visit: Visit, tmp_path: Path, size: tuple[int, int], dark: bool) -> None:
    """On every width and in both schemes nothing is pushed out to the side, not even by an endless word."""
    ada = visit("Ada of the Exceptionally Long Name", size, dark=dark)
    ada.say("a word of average length", "endless" * 60)
    expect(ada.messages).to_have_count(2)
    narrow = size == PHONE

    for view in ["Rooms", "Chat", "People & line"] if narrow else [""]:
        if view:
            ada.page.get_by_role("navigation", name="Views").get_by_role("button", name=view).click()
        ada.page.screenshot(path=tmp_path / f"{view or 'all'}.png")
        assert ada.overflow_pixels() == 0


def test_page_outlives_a_restart_of_the_server(browser: Browser, room: str, tmp_path: Path) -> None:
    """A new server knows neither token nor messages: the page gets a new token, comes back, and says what is gone."""
    server = DemoServer(tmp_path / "server.log")
    visitor = Visitor(browser, server.address, "Ada", room)
    visitor.say("before")
    visitor.reads(["before"])
    server.stop()
    visitor.line("connecting")

    server = DemoServer(tmp_path / "server.log", server.port)
    try:
        visitor.line("lost")
        visitor.reads([])
        visitor.say("after")
        visitor.reads(["after"])
        assert visitor.problems == []
    finally:
        visitor.close()
        server.stop()
