"""The pictures of pages in docs/images, as Chromium draws them at the width of a screen (1,280) and of a telephone (390).

    LACUNA_BIN=… python tests/telemetry/pictures.py OUT [FIM-EVAL RUN]

The report and its experiment are a simulated team's (`telemetry demo`), the dashboard is that of a running `lacuna serve` after a dozen
sessions with the embedded model, which are as little work of anybody's. A folder that `fim-eval run` wrote adds its page. Needs
requirements.txt, and pillow for files with few colours. Look at what comes out: no test sees that a label is cut.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from conftest import ROOT, Lacuna
from PIL import Image
from playwright.sync_api import sync_playwright
from session import record_a_session

WIDTHS = {1280: 1400, 390: 2400}
COLOURS = 160
SESSIONS = 12


def picture(browser, url, out, width, at=None, height=None):
    """The page's first pixels, or those from an element on."""
    page = browser.new_page(viewport={"width": width, "height": WIDTHS[width]})
    page.goto(url)
    box = page.locator(at).first.bounding_box() if at else {"y": 0}
    whole = page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": box["y"], "width": width, "height": min(height or WIDTHS[width], whole - box["y"])}
    page.screenshot(path=out, full_page=True, clip=clip)
    page.close()
    Image.open(out).convert("RGB").quantize(COLOURS).save(out, optimize=True)
    print(f"{out} {out.stat().st_size}")


def main():
    out, run = Path(sys.argv[1]).absolute(), sys.argv[2] if len(sys.argv) > 2 else None
    binary = Path(os.environ.get("LACUNA_BIN", ROOT / "target/release/lacuna")).absolute()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        lacuna = Lacuna(binary, Path(home))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        demo = lacuna.home / "demo.html"
        lacuna.run("telemetry", "demo", "--html", demo)
        for width in WIDTHS:
            picture(browser, demo.as_uri(), out / f"telemetry-{width}.png", width)
        picture(browser, demo.as_uri(), out / "telemetry-experiment-390.png", 390, at="#experiment-order")
        for _ in range(SESSIONS):
            record_a_session(lacuna)
        server = lacuna.serve()
        try:
            for width in WIDTHS:
                picture(browser, f"{server.url}/dashboard", out / f"dashboard-{width}.png", width)
        finally:
            server.stop()
        if run:
            page = lacuna.home / "fim-eval.html"
            lacuna.run("fim-eval", "report", Path(run).absolute(), "--html", "-o", page)
            for width in WIDTHS:
                picture(browser, page.as_uri(), out / f"fim-eval-{width}.png", width)
        browser.close()


if __name__ == "__main__":
    main()
