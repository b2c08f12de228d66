"""One visitor: a browser window on the demo, and what can be done and seen there."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

WIDE = (1280, 800)


class Visitor:
    """A window of its own, through the door and in a room.

    Whatever goes wrong inside the page (an error it does not catch, a request to anybody else) is kept in `problems`.
    """

    def __init__(
        self, browser: Browser, address: str, name: str, room: str, *, size: tuple[int, int] = WIDE, dark: bool = False
    ) -> None:
        self.name = name
        self.problems: list[str] = []
        self._address = address
        width, height = size
        self._context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        self.page: Page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.on("websocket", lambda socket: self._check(socket.url.replace("ws:", "http:", 1)))
        self.page.goto(f"{address}/#{room}")
        field = self.page.get_by_label("Your name here")
        field.fill(name)
        field.press("Enter")
        self.in_room(room)
        self.line("open")

    def _check(self, url: str) -> None:
        if not url.startswith((self._address, "data:")):
            self.problems.append(f"asked {url}")

    def close(self) -> None:
        """Close the tab."""
        self._context.close()

    @property
    def badge(self) -> Locator:
        """The state of the line."""
        return self.page.get_by_role("status")

    @property
    def words(self) -> Locator:
        """Where one writes."""
        return self.page.get_by_role("textbox", name="Your message")

    @property
    def messages(self) -> Locator:
        """What was said, oldest first, without what still waits for the line."""
        return self.page.get_by_role("log", name="Messages").locator(".message:not(.draft) .words")

    @property
    def drafts(self) -> Locator:
        """What waits for the line."""
        return self.page.locator(".draft .words")

    @property
    def people(self) -> Locator:
        """The names of those who are here."""
        return self.page.locator("#people-list li > span:nth-child(2)")

    def room(self, name: str) -> Locator:
        """A room in the list."""
        return self.page.get_by_role("navigation", name="Rooms").get_by_role("link", name=name)

    def say(self, *texts: str) -> None:
        """Write each text and send it with Enter."""
        for text in texts:
            self.words.fill(text)
            self.words.press("Enter")

    def cut(self) -> None:
        """Cut the line."""
        self.page.get_by_role("button", name="Cut the line").click()
        self.line("cut")

    def mend(self) -> None:
        """Mend the line."""
        self.page.get_by_role("button", name="Mend the line").click()

    def line(self, state: str) -> None:
        """Wait until the badge shows this state."""
        expect(self.badge).to_have_attribute("data-state", state)

    def reads(self, texts: Sequence[str]) -> None:
        """Wait until the messages are these and no others, in this order."""
        expect(self.messages).to_have_text(list(texts))

    def sees(self, names: Sequence[str]) -> None:
        """Wait until those who are here are these, by name."""
        expect(self.people).to_have_text(sorted(names))

    def in_room(self, name: str) -> None:
        """Wait until this room is on view."""
        expect(self.page.get_by_role("heading", level=1, name=name)).to_be_visible()

    def overflow_pixels(self) -> int:
        """By how much the page is wider than the window."""
        root = "document.documentElement"
        return int(self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))
