"""The built pages, served."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from openline.demo.pages import Pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a build leaves."""
    (tmp_path / "index.html").write_text("<!doctype html><title>Built</title>")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-1a2b3c.js").write_text("export {}")
    return tmp_path


def client(folder: Path) -> TestClient:
    """An app with nothing but the pages."""
    app = FastAPI()
    app.mount("/", Pages(folder))
    return TestClient(app)


def test_page_is_asked_for_anew_and_its_parts_are_kept(folder: Path) -> None:
    """A new build is seen at the next visit, and what has not changed is not fetched again."""
    page, part = client(folder).get("/"), client(folder).get("/assets/index-1a2b3c.js")

    assert "Built" in page.text
    assert page.headers["cache-control"] == "no-cache"
    assert part.status_code == 200
    assert "immutable" in part.headers["cache-control"]


def test_unbuilt_pages_say_what_to_run(tmp_path: Path) -> None:
    """A tree that was never built starts all the same, and tells how to build it."""
    answer = client(tmp_path / "static").get("/")

    assert answer.status_code == 503
    assert "make web" in answer.text


@pytest.mark.parametrize("path", ["/nothing.js", "/assets/nothing.js", "/../app.py"])
def test_nothing_else_is_served(folder: Path, path: str) -> None:
    """What is not there is not found, and is not kept by anybody."""
    answer = client(folder).get(path)

    assert answer.status_code == 404
