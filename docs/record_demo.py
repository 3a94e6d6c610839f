"""Record the pictures of docs/demo.md from the running demo: python docs/record_demo.py http://127.0.0.1:7860/

It needs requirements-demo.txt, and a Chromium: /usr/bin/chromium, or the one that the environment's CHROMIUM names.
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ALONE = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync".split()
)
DESKTOP, PHONE = {"width": 1040, "height": 830}, {"width": 390, "height": 844}
THREE = [
    [(85, 85), (125, 52), (180, 65), (185, 105), (130, 135)],
    [(130, 135), (190, 160), (185, 215), (135, 232), (85, 205)],
]
MARKS = ("#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7")  # the colors of Okabe and Ito
PAUSE = 1500  # milliseconds after the last glimpse


def open_page(browser, url: str, size: dict, language: str):
    """Open the page in a tab of its own."""
    phone = size is PHONE
    context = browser.new_context(viewport=size, locale=language, is_mobile=phone, has_touch=phone)
    tab = context.new_page()
    tab.goto(url)
    tab.wait_for_selector(".ram[data-language]")
    return tab


def settle(tab) -> None:
    """Wait for the answer."""
    tab.wait_for_selector(".ram[data-busy=no]")
    tab.wait_for_timeout(200)


def place(tab, x: int, y: int, pieces: int) -> None:
    """Say where on the canvas a digit is placed, and among how much clutter."""
    for key, value in (("x", x), ("y", y), ("pieces", pieces)):
        tab.locator(f"[data-place={key}]").fill(str(value))


def draw(tab, strokes, after_move=lambda: None) -> None:
    """Draw strokes in the paper's 280 x 280 units with the mouse."""
    pad = tab.locator(".pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for points in strokes:
        for number, (x, y) in enumerate(points):
            tab.mouse.move(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280, steps=4)
            if number:
                after_move()
            else:
                tab.mouse.down()
        tab.mouse.up()


def save_film(path: Path, shots: list[tuple[float, Image.Image]]) -> None:
    """Write a GIF of screenshots with the time of each."""
    palette = few_colors(shots[-1][1], 64)
    frames = [shot.quantize(palette=palette, dither=Image.NONE) for _, shot in shots]
    times = [moment for moment, _ in shots]
    durations = [round(1000 * (b - a)) for a, b in zip(times, times[1:])] + [PAUSE]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def few_colors(shot: Image.Image, count: int) -> Image.Image:
    """Reduce an image to a palette in which the page's own colors have their places, however small their areas are."""
    swatches = Image.new("RGB", (shot.width, shot.height + 20 * len(MARKS)))
    swatches.paste(shot)
    for number, color in enumerate(MARKS):
        swatches.paste(color, (0, shot.height + 20 * number, shot.width, shot.height + 20 * (number + 1)))
    return shot.quantize(palette=swatches.quantize(count, dither=Image.NONE), dither=Image.NONE)


def film(browser, url: str) -> None:
    """Record how a three is drawn and found among clutter."""
    tab, shots = open_page(browser, url, DESKTOP, "en-US"), []
    tab.select_option(".network", "cluttered60")
    place(tab, 27, 25, 4)
    tab.select_option(".speed", "0.5")
    columns = tab.locator(".images .columns").bounding_box()
    clip = {**columns, "height": min(columns["height"], 560)}

    def shoot():
        shots.append((time.monotonic(), Image.open(io.BytesIO(tab.screenshot(clip=clip))).convert("RGB")))

    draw(tab, THREE, shoot)
    tab.wait_for_selector(".ram[data-busy=no][data-playing=yes]")
    while tab.locator(".ram").get_attribute("data-playing") == "yes":
        shoot()
        tab.wait_for_timeout(130)
    shoot()
    start = shots[0][0]  # in half the time: the page ran at half its speed
    save_film(IMAGES / "demo.gif", [(start + (moment - start) / 2, shot) for moment, shot in shots])


def pictures(browser, url: str) -> None:
    """Record the page on a desktop in English, and on a phone in Chinese."""
    tab = open_page(browser, url, DESKTOP, "en-US")
    tab.select_option(".network", "cluttered100")
    tab.locator("button[data-mode=paths]").click()
    for _ in range(300):  # until some of ten paths err and their average does not
        tab.locator("[data-do=test]").click()
        settle(tab)
        chips = tab.locator(".chips button").all_inner_texts()
        wrong = [text for text in chips if text.endswith("✗")]
        if len(wrong) >= 2 and not chips[0].endswith("✗"):
            break
    tab.locator("[data-do=last]").click()
    save(tab, "demo-paths.png", 128)

    tab = open_page(browser, f"{url}#catch", DESKTOP, "en-US")
    tab.wait_for_selector(".catch[data-frame='16']")
    tab.locator("[data-game=play]").click()
    save(tab, "demo-catch.png", 64)

    tab = open_page(browser, url, PHONE, "zh-CN")
    tab.select_option(".network", "cluttered60")
    place(tab, 27, 25, 4)
    draw(tab, THREE)
    settle(tab)
    tab.locator("[data-do=last]").click()
    save(tab, "demo-phone.png", 128)


def save(tab, name: str, colors: int) -> None:
    """Write the whole page as a PNG with few colors."""
    shot = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
    few_colors(shot, colors).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ALONE)
        film(opened, sys.argv[1])
        pictures(opened, sys.argv[1])
        opened.close()
