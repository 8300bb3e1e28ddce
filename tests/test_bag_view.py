"""`fosp bags view` in a real browser, and `fosp bags clip`, on a bag whose every moment is known."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console_rig import CHROMIUM, browser
from told_bag import MARKED_S, NOTE, SECONDS, write_told_bag

from fosp_cli.cli import run

pytestmark = pytest.mark.timeout(240)
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")
STOPPED = "Stopped"


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_told_bag(tmp_path_factory.mktemp("bags") / "black_box_20261130_062347_399")


@pytest.fixture(scope="module")
def address(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page of the bag; the command that serves it ends with 0 on Ctrl-C."""
    output = tmp_path_factory.mktemp("output") / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "fosp_cli.cli", "bags", "view", str(bag), "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 120.0
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", output.read_text())):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.02)
        yield found.group()
        process.send_signal(signal.SIGINT)
        assert process.wait(60.0) == 0, output.read_text()
    finally:
        process.kill()


@pytest.mark.live
@needs_browser
def test_a_person_goes_through_a_bag_by_mouse_and_by_keyboard(address: str) -> None:
    pytest.importorskip("playwright")
    with browser() as chromium:
        page = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}#t=2.60")
        wait_for_moment(page, "2.60")
        assert page.inner_text("#verdict-word") == STOPPED
        assert page.inner_text("#verdict-text") == "verdict 52", "the text of the very verdict that was in force"
        assert brightness_shown(page) == pytest.approx(20 + 2 * 52, abs=4)

        page.keyboard.press("ArrowRight")
        wait_for_moment(page, "2.65")
        page.keyboard.press("p")
        wait_for_moment(page, "2.50")
        page.keyboard.press("p")
        wait_for_moment(page, f"{MARKED_S:.2f}")
        current = page.inner_text("#happened [aria-current]")
        assert NOTE in current
        assert "operator" in current
        assert page.url.endswith("#t=2"), "the address leads back to the moment"
        page.keyboard.press("End")
        wait_for_moment(page, f"{SECONDS:.2f}")
        page.keyboard.press("Home")
        page.keyboard.press(" ")
        page.wait_for_function("() => Number(document.getElementById('scrub').value) > 0.3")
        page.keyboard.press(" ")
        assert page.inner_text("#play") == "Play"
        box = page.locator("#strips").bounding_box()
        page.mouse.click(box["x"] + 62 + (box["width"] - 72) * 0.3, box["y"] + 20)
        page.wait_for_function("() => Math.abs(Number(document.getElementById('scrub').value) - 1.2) < 0.05")
        assert page.inner_text("#verdict-word") == "Substituted"

        page.fill("#clip-from", "1")
        page.fill("#clip-to", "1.5")
        page.select_option("#clip-format", "gif")
        with page.expect_download() as saved:
            page.click("#clip button")
        assert saved.value.suggested_filename == "black_box_20261130_062347_399_1.00_1.50.gif"
        assert Path(saved.value.path()).read_bytes()[:6] == b"GIF89a"
        page.fill("#clip-to", "99")
        page.click("#clip button")
        page.wait_for_selector("#clip-answer[data-done=false]")
        assert "lasts 4.00 s" in page.inner_text("#clip-answer")
        assert [error for error in errors if "400" not in error] == []

        for width, scheme in ((360, "light"), (2560, "dark")):
            assert serious_faults(chromium, address, width, scheme) == []


def wait_for_moment(page: Any, moment: str) -> None:
    page.wait_for_selector(f"#facts[data-t='{moment}']", timeout=60_000)


def brightness_shown(page: Any) -> int:
    """Return the red of the middle of the first camera's picture, once its frame is drawn."""
    page.wait_for_function("() => document.querySelector('#frames canvas').dataset.shown === '52'", timeout=60_000)
    return page.evaluate(
        "() => { const c = document.querySelector('#frames canvas');"
        " return c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[0]; }"
    )


def serious_faults(chromium: Any, address: str, width: int, scheme: str) -> list[str]:
    """Return what axe finds serious on the page of a width, and whether anything runs over its edge."""
    from axe_playwright_python.sync_playwright import Axe

    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(f"{address}#t=2.60")
    wait_for_moment(page, "2.60")
    over = page.evaluate("() => document.documentElement.scrollWidth") - width
    found = [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}"
        for one in Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    context.close()
    return found + ([f"{over} pixels run over"] if over > 0 else [])


@pytest.mark.live
def test_no_stranger_is_answered_and_no_path_reaches_the_disk(address: str) -> None:
    def ask(method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=60.0)
        connection.request(method, path, body or None, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders())

    status, headers = ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert ask("GET", "/timeline.json", Host="evil.example")[0] == 421
    for path in (
        *("/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/history/../../server.py", "/main.py"),
        *(
            "/frame?camera=0&index=../1",
            "/frame?camera=9&index=0",
            "/frame?camera=0&index=-1",
            "/frame",
            "/moment?t=nan",
        ),
        "/frame?camera=0&index=99999999999999999999",
    ):
        assert ask("GET", path)[0] == 404, path
    clip, here = '{"from": 0, "to": 1, "format": "gif"}', address.rstrip("/")
    json = "application/json"
    assert ask("POST", "/clip", clip, Content_Type=json)[0] == 403
    assert ask("POST", "/clip", clip, Content_Type=json, Origin="http://evil.example")[0] == 403
    assert ask("POST", "/clip", clip, Content_Type="text/plain", Origin=here)[0] == 415
    assert ask("POST", "/clip", "x" * 9999, Content_Type=json, Origin=here)[0] == 413
    assert ask("POST", "/clip", clip, Content_Type=json, Origin=here)[0] == 200


def test_a_clip_is_made_by_a_command(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "clip.gif"
    assert run(["bags", "clip", str(bag), "--from", "1", "--to", "2", "--out", str(out)]) == 0
    assert "1.00 s" in capsys.readouterr().out
    assert out.read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "3", "--to", "1", "-o", "clip.gif"], "to a later one"),
        (["--from", "0", "--to", "9", "-o", "clip.gif"], "lasts 4.00 s"),
        (["-o", "clip.avi"], "must end in .mp4 or .gif"),
    ],
)
def test_a_clip_that_cannot_be_is_one_line(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(["bags", "clip", str(bag), *arguments[:-1], str(tmp_path / arguments[-1])]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_bags_that_cannot_be_shown_are_one_line(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blind = write_told_bag(tmp_path / "blind", cameras=())
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    whole = next(bag.glob("*.mcap")).read_bytes()
    (damaged / next(bag.glob("*.mcap")).name).write_bytes(whole[: len(whole) // 2])
    (damaged / "metadata.yaml").write_text((bag / "metadata.yaml").read_text())
    out = ["-o", str(tmp_path / "clip.gif")]
    for arguments in (
        ["clip", str(blind), *out],
        ["clip", str(damaged), *out],
        ["view", str(damaged)],
        ["view", str(tmp_path / "none")],
        ["view", str(tmp_path)],
    ):
        assert run(["bags", *arguments]) == 2, arguments
        assert capsys.readouterr().err.count("\n") == 1, arguments
