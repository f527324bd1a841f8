"""The reference page in a real browser: it asks nobody else for anything, keeps to its policy, and can be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.testbed.browser import open_browser
from tests.testbed.coordinator import Coordinator

# Set it to a folder to keep the pictures and look at them.
PICTURES = os.environ.get("REFERENCE_PICTURES")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["wide", "narrow and dark"])
async def test_the_page_in_chromium(running: Coordinator, tmp_path: Path, width: int, dark: bool) -> None:
    async with open_browser(tmp_path) as page:
        await page.open(f"{running.base_url}/reference", width=width, dark=dark)
        if PICTURES:
            await page.screenshot(Path(PICTURES) / f"reference-{width}.png")
        styled = "getComputedStyle(document.querySelector('main')).paddingLeft"
        assert await page.evaluate(styled) != "0px", "the style sheet is not in force"
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 18, 27)" if dark else "rgb(255, 255, 255)")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, "wider than the window"
        assert await page.evaluate("document.querySelectorAll('script').length") == 0
        assert await page.evaluate("document.querySelectorAll('article').length") > 200
        broken = (
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1)))"
        )
        assert await page.evaluate(f"{broken}.length") == 0
        document = (await running.get("/openapi.json", None)).json()
        operations = sum(len(methods) for methods in document["paths"].values())
        assert await page.evaluate("document.querySelectorAll('section p.call').length") == operations
        origins = {url.split("/")[2] for url in page.requested if not url.startswith("data:")}
        assert origins == {f"127.0.0.1:{running.port}"}
        assert page.complaints == []


async def test_the_policy_of_the_page(running: Coordinator) -> None:
    answer = await running.get("/reference", None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")
    assert "unsafe" not in policy
    assert "//" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "http://" not in answer.text.replace("http://x", "")
    assert "https://" not in answer.text
    style = await running.get("/reference/reference.css", None)
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in style.text
    assert (await running.get("/reference/../secret", None)).status_code == 404
    assert (await running.get("/reference/other.css", None)).status_code == 404
