"""A real Chromium on networks that block: the SDK falls back and comes back, and an EventSource needs no SDK at all.

Behind each network stand nginx on `deploy/nginx.conf` and two nodes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.network import Network
from tests.browser.server import DemoServer
from tests.browser.visitor import Visitor
from tests.deploy.house import House
from tests.engines.valkey import ValkeyServer

#: The clients of a page: what they hear, and on which transport they are.
LISTEN = """([base, channel, names]) => {
    window.heard = [];
    window.transports = [];
    window.problems = [];
    const address = {
        websocket: base.replace("http", "ws") + "/connection/websocket",
        http_stream: base + "/connection/http_stream",
        sse: base + "/connection/sse",
    };
    const list = names.map((transport) => ({ transport, endpoint: address[transport] }));
    const options = { emulationEndpoint: base + "/emulation", timeout: 1500, maxReconnectDelay: 500 };
    const centrifuge = new Centrifuge(list, options);
    let transport = "";
    centrifuge.on("connected", (connected) => (transport = connected.transport));
    const subscription = centrifuge.newSubscription(channel);
    subscription.on("publication", ({ data }) => heard.push(data));
    subscription.on("subscribed", ({ wasRecovering, recovered }) => {
        if (wasRecovering && !recovered) problems.push("not recovered");
        transports.push(transport);
    });
    centrifuge.on("disconnected", ({ code, reason }) => problems.push(`${code} ${reason}`));
    subscription.subscribe();
    centrifuge.connect();
    window.say = (number) => subscription.publish(number);
}"""

#: The same without the SDK.
EVENT_SOURCE = """([base, channel]) => {
    window.heard = [];
    window.opened = 0;
    const request = JSON.stringify({ subs: { [channel]: {} } });
    const source = new EventSource(`${base}/connection/uni_sse?cf_connect=${encodeURIComponent(request)}`);
    source.onopen = () => (opened += 1);
    source.onmessage = ({ data }) => {
        const push = JSON.parse(data);
        if (push.pub) heard.push(push.pub.data);
    };
}"""
ALL = ("websocket", "http_stream", "sse")
WAIT_MS = 15_000


@pytest.fixture(scope="module")
def house(valkey: ValkeyServer) -> Iterator[House]:
    """Two nodes behind nginx, which let in pages of this machine."""
    with House("nginx", valkey.url, ["http://127.0.0.1:*"]) as made:
        yield made


@pytest.fixture(scope="module")
def network(house: House) -> Iterator[Network]:
    """The network of a visitor."""
    with Network(house.proxy.port) as made:
        yield made


@pytest.fixture
def channel() -> str:
    """A channel nobody was in before."""
    return f"room:{secrets.token_hex(4)}"


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Open pages at addresses; in the end none of them has had an error."""
    context = browser.new_context()
    errors: list[str] = []

    def open_page(address: str) -> Page:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/page")
        return page

    yield open_page
    context.close()
    assert errors == []


def listen(page: Page, base: str, channel: str, names: tuple[str, ...] = ALL) -> None:
    """Have a page follow a channel; wait until it does."""
    page.evaluate(LISTEN, [base, channel, list(names)])
    page.wait_for_function("transports.length === 1", timeout=WAIT_MS)


def says(page: Page, number: int) -> None:
    """Have a page publish; wait until the hub has taken it."""
    page.evaluate("number => say(number)", number)


def hears(page: Page, numbers: list[int]) -> None:
    """Wait until a page has heard these and nothing else."""
    page.wait_for_function("count => heard.length >= count", arg=len(numbers), timeout=WAIT_MS)
    assert page.evaluate("heard") == numbers


@pytest.mark.parametrize(
    ("websocket", "streams", "transport"),
    [(True, True, "websocket"), (False, True, "http_stream"), (False, False, "sse")],
    ids=["all is let through", "WebSocket is refused", "and streams are held back"],
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same origin", "other origin"])
def test_the_sdk_takes_what_the_network_lets_through(
    visit: Callable[[str], Page],
    house: House,
    network: Network,
    channel: str,
    websocket: bool,
    streams: bool,
    transport: str,
    elsewhere: bool,
) -> None:
    """In the order of its list, both ways; for a page of another origin too, where the hub lists that."""
    network.become(websocket=websocket, streams=streams)
    page = visit(house.proxy.http if elsewhere else network.http)
    listen(page, network.http, channel)

    house.nodes[0].publish(channel, 1)
    house.nodes[1].publish(channel, 2)
    hears(page, [1, 2])
    says(page, 3)
    hears(page, [1, 2, 3])

    assert page.evaluate("transports") == [transport]
    assert page.evaluate("problems") == []


def test_the_sdk_comes_back_to_websocket(
    visit: Callable[[str], Page], house: House, network: Network, channel: str
) -> None:
    """A page stays with what worked, over each end of its line; opened anew it begins with WebSocket again."""
    network.become(websocket=False, streams=True)
    page = visit(network.http)
    listen(page, network.http, channel)
    house.nodes[0].publish(channel, 1)
    hears(page, [1])

    network.become(websocket=True, streams=True)
    house.nodes[1].publish(channel, 2)
    hears(page, [1, 2])
    assert set(page.evaluate("transports")) == {"http_stream"}

    page.reload()
    listen(page, network.http, channel)
    house.nodes[0].publish(channel, 3)
    hears(page, [3])
    assert page.evaluate("transports") == ["websocket"]


def test_an_event_source_comes_back_by_itself(visit: Callable[[str], Page], house: House, channel: str) -> None:
    """The browser says by `Last-Event-ID` what it has read: its node is killed, and nothing is lost or comes twice."""
    page = visit(house.proxy.http)
    before = [node.state()["sessions"] for node in house.nodes]
    page.evaluate(EVENT_SOURCE, [house.proxy.http, channel])
    page.wait_for_function("opened === 1", timeout=WAIT_MS)
    holder = next(node for node, count in zip(house.nodes, before, strict=True) if node.state()["sessions"] > count)
    (other,) = {*house.nodes} - {holder}
    for number in range(10):
        other.publish(channel, number)
    hears(page, list(range(10)))

    holder.kill()
    for number in range(10, 20):
        other.publish(channel, number)
    page.wait_for_function("opened === 2", timeout=WAIT_MS)
    hears(page, list(range(20)))
    holder.start()
    house.wait_until_whole()
    other.publish(channel, 20)
    hears(page, list(range(21)))


def test_eight_tabs_have_a_stream_each_over_http2(browser: Browser, house: House, channel: str) -> None:
    """Over HTTP/1.1 a browser opens six connections to a host, and a stream needs one."""
    context = browser.new_context(ignore_https_errors=True)
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        tab.goto(f"{house.proxy.https}/page")
        listen(tab, house.proxy.https, channel, ("http_stream",))
    says(tabs[-1], 1)
    for tab in tabs:
        hears(tab, [1])
    context.close()


# --- the demo ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streams", "shown"), [(True, "HTTP stream"), (False, "Server-sent events")], ids=["streams", "only events"]
)
def test_the_demo_works_where_websocket_does_not(
    browser: Browser, demo: DemoServer, room: str, streams: bool, shown: str
) -> None:
    """Over other transports one talks to one who has a WebSocket; the scissors cut those too, and they recover."""
    with Network(demo.port) as blocking:
        blocking.become(websocket=False, streams=streams)
        ada = Visitor(browser, demo.address, "Ada", room)
        grace = Visitor(browser, blocking.http, "Grace", room)
        expect(ada.page.locator("#line-transport")).to_have_text("WebSocket")
        expect(grace.page.locator("#line-transport")).to_have_text(shown)
        ada.say("Hello?")
        grace.reads(["Hello?"])

        grace.cut()
        ada.say("Still there?", "Grace?")
        ada.reads(["Hello?", "Still there?", "Grace?"])
        grace.say("I was away.")
        expect(grace.messages).to_have_text(["Hello?"])
        grace.mend()

        everything = ["Hello?", "Still there?", "Grace?", "I was away."]
        grace.reads(everything)
        ada.reads(everything)
        expect(grace.badge).to_have_text("Recovered 2 messages")
        assert ada.problems + grace.problems == []
        ada.close()
        grace.close()
