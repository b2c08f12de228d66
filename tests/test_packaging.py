"""What is packed and what is locked: a wheel that needs no Node, locks that work with any index."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = Path("src/openline/demo/static")


def build(tree: Path, target: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Pack a source tree with the project's own build backend."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=50, check=False)


def packed(folder: Path, ending: str) -> Path:
    """The one package a build left in a folder."""
    (package,) = folder.glob(f"*{ending}")
    return package


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the build reads, without the built pages."""
    copy = tmp_path / "tree"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture
def pages(tree: Path) -> Path:
    """The built pages, laid into the copied tree."""
    assert (ROOT / PAGES / "index.html").is_file(), "run `make web` first"
    shutil.copytree(ROOT / PAGES, tree / PAGES)
    return tree / PAGES


def test_wheel_holds_every_built_page(tree: Path, pages: Path, tmp_path: Path) -> None:
    """Git ignores the built pages; the wheel holds them all the same, every file of them."""
    result = build(tree, "wheel", tmp_path)

    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(packed(tmp_path, ".whl")) as wheel:
        names = set(wheel.namelist())
    built = {f"openline/demo/static/{file.relative_to(pages)}" for file in pages.rglob("*") if file.is_file()}
    assert built <= names
    assert "openline/demo/static/index.html" in names


def test_wheel_made_from_the_sdist_holds_the_pages(tree: Path, pages: Path, tmp_path: Path) -> None:
    """The sdist carries the pages and the check for them, so it needs no Node either."""
    assert pages.is_dir()
    assert build(tree, "sdist", tmp_path).returncode == 0
    shutil.unpack_archive(packed(tmp_path, ".tar.gz"), tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    result = build(unpacked, "wheel", tmp_path)

    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(packed(tmp_path, ".whl")) as wheel:
        assert "openline/demo/static/index.html" in wheel.namelist()


def test_installed_wheel_has_its_pages_where_the_demo_looks(tree: Path, pages: Path, tmp_path: Path) -> None:
    """`pip install` of the wheel unpacks the pages; no Node is run."""
    assert pages.is_dir()
    assert build(tree, "wheel", tmp_path).returncode == 0
    target = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, str(packed(tmp_path, ".whl"))]
    subprocess.run(command, env={"PATH": "", "HOME": str(tmp_path)}, timeout=50, check=True)

    assert (target / "openline/demo/static/index.html").is_file()
    assert (target / "openline/py.typed").is_file()


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_nothing_is_packed_without_the_pages(tree: Path, tmp_path: Path, target: str) -> None:
    """A build before `make web` fails, and says what to run."""
    result = build(tree, target, tmp_path)

    assert result.returncode != 0
    assert "make web" in result.stderr
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.parametrize("name", ["autobahn.txt", "bench.txt", "dev.txt", "proto.txt"])
def test_python_locks_have_hashes_and_no_addresses(name: str) -> None:
    """Every locked package has a hash, and no line says where to get it from."""
    text = (ROOT / "requirements" / name).read_text()
    packages = re.findall(r"^\S+==\S+.*\\\n    --hash=sha256:", text, flags=re.MULTILINE)

    assert packages
    assert len(packages) == len(re.findall(r"^[^#\s]", text, flags=re.MULTILINE))
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


@pytest.mark.parametrize("folder", ["bench/node", "web"])
def test_node_locks_have_hashes_and_no_addresses(folder: str) -> None:
    """Every locked package has its integrity and no `resolved`, so that any registry serves."""
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}

    assert packages
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
