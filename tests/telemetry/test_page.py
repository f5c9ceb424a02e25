"""The report's page in headless Chromium: light and dark, by keyboard alone, without a network."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from session import record_a_session


@pytest.fixture
def chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "no Chromium: install the package chromium, or set CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page_file(lacuna):
    path = lacuna.home / "report.html"
    lacuna.run("telemetry", "demo", "--html", path)
    return path


def opened(browser, path, **options):
    context = browser.new_context(viewport={"width": 1000, "height": 1400}, **options)
    page = context.new_page()
    page.problems, page.requests = [], []
    page.on("console", lambda message: page.problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(path.as_uri())
    return page


def test_the_page_needs_nothing_else_and_has_no_errors(chromium, page_file):
    page = opened(chromium, page_file)
    assert page.requests == [page_file.as_uri()]
    assert page.problems == []
    assert "Simulated" in page.inner_text("header")
    assert page.locator("svg").count() >= 6
    assert page.locator("h1").count() == 1
    # Nothing is wider than the page, on a telephone neither.
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_everything_can_be_reached_and_read_by_keyboard(chromium, page_file):
    page = opened(chromium, page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName.toLowerCase()"))
    assert {"svg", "summary"} <= seen
    chart = page.locator("#time svg").first
    chart.focus()
    assert page.inner_text("#said") == ""
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#said")
    page.keyboard.press("ArrowRight")
    assert first and page.inner_text("#said") not in ("", first)
    page.keyboard.press("End")
    last = page.inner_text("#said")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#said") == last
    page.keyboard.press("Escape")
    assert page.inner_text("#said") == ""
    # A closed table opens with Enter.
    summary = page.locator("#language summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#language table").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(chromium, page_file, scheme):
    page = opened(chromium, page_file, color_scheme=scheme)
    contrast = """() => {
      const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => { x /= 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
      const back = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!c.includes(", 0)")) return c; } return "rgb(255, 255, 255)"; };
      return [...document.querySelectorAll("p, h1, h2, h3, td, th, figcaption, b, span, a, summary, text, li")].filter((e) => e.textContent.trim()).map((e) => {
        const style = getComputedStyle(e), ink = e.tagName == "text" ? style.fill : style.color;
        const [a, b] = [light(ink), light(back(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.tagName, e.textContent.slice(0, 30)]; }).sort((x, y) => x[0] - y[0])[0]; }"""
    worst = page.evaluate(contrast)
    assert worst[0] >= 4.5, worst
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    if folder := os.environ.get("LACUNA_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"dashboard-{scheme}.png", full_page=False)


def test_an_empty_report_is_a_page_too(chromium, lacuna):
    (lacuna.home / "none.jsonl").write_text("")
    path = lacuna.home / "empty.html"
    lacuna.run("telemetry", "report", lacuna.home / "none.jsonl", "--html", path)
    page = opened(chromium, path)
    assert page.problems == [] and "no rows" in page.inner_text("header")


def test_the_dashboard_of_a_running_server(chromium, lacuna):
    """Served as it is written: the page's own rules and the server's let it run, and nothing else is asked for."""
    server = lacuna.serve()
    try:
        context = chromium.new_context()
        page = context.new_page()
        problems, requests = [], []
        page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{server.url}/dashboard")
        assert page.inner_text("h1") == "Nothing has been recorded yet"
        record_a_session(lacuna)
        while "1 suggestion" not in page.inner_text("body"):
            page.reload()
        chart = page.locator("#time svg").first
        chart.focus()
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#said") != "", "the page's script runs"
        # A browser asks for an icon by itself; what it is answered is no fault of the page.
        assert {r for r in requests if not r.endswith("/favicon.ico")} == {f"{server.url}/dashboard"}
        assert [p for p in problems if "favicon" not in p] == []
    finally:
        server.stop()


def test_a_browser_is_asked_for_the_token(chromium, lacuna):
    token = lacuna.home / "token"
    token.write_text("0123456789abcdef0123\n")
    token.chmod(0o600)
    server = lacuna.serve("--token-file", token)
    try:
        for password, status in (("0123456789abcdef0123", 200), ("0123456789abcdef0124", 401)):
            context = chromium.new_context(http_credentials={"username": "me", "password": password})
            page = context.new_page()
            assert page.goto(f"{server.url}/dashboard").status == status
    finally:
        server.stop()
