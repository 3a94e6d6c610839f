"""Make the tables of Catch, in both languages, from its part of experiments/results.json."""

from __future__ import annotations

from statistics import mean, stdev

from words import table, translate

PLAYERS = {  # of Catch: where the eye looks
    "learned": {"en": "where to look is learned", "zh": "学习看哪里"},
    "random": {"en": "the eye looks anywhere", "zh": "眼睛随机看"},
    "center": {"en": "the eye looks at the middle", "zh": "眼睛总看中间"},
    "full_screen": {"en": "the full screen is seen, without a retina", "zh": "不用视网膜，看到整个屏幕"},
}


def catch(language: str, part: dict) -> str:
    """Make the table of balls caught: by chance, by a perfect player, as others report, and a row per training."""
    names = {"en": ("random actions", "a perfect player who sees all"), "zh": ("随机动作", "看到一切的完美玩家")}
    bounds = zip(names[language], (part["bounds"]["chance"], part["bounds"]["perfect"]))
    command = f"`{part['bounds']['command']}`"
    rows = [[f"{name}, {command}", None, f"{value:.2f}", None, None, None] for name, value in bounds]
    for claim in part["claims"]:
        source = f"[{claim['system'][language]}]({claim['link']})"
        ways = ("greedy", "sampled")  # where a claim does not say which it is, it stands in both columns
        caught = (claim["caught"][language] if claim["played"] in (None, way) else None for way in ways)
        rows.append([source, claim["frames"][language], *caught, None, None])
    for row in part["rows"]:
        name = f"{PLAYERS[row['player']][language]}, `{row['command']}`"
        numbers = (row["frames"] / 1e6, row["greedy"], row["sampled"], row["distance"], row["late_distance"])
        rows.append([name, *(number if number is None else f"{number:.2f}" for number in numbers)])
    headings = "player,million frames,greedy,sampled,pixels from eye to ball,in the last quarter"
    return table(headings.split(","), rows, language)


def catch_short(language: str, part: dict) -> str:
    """Make the README's row of balls caught: the mean of the trainings, beside what others report."""
    learned = [row for row in part["rows"] if row["player"] == "learned"]
    cells = [f"{mean(v):.2f} +- {stdev(v):.2f}" for v in ([row[k] for row in learned] for k in ("greedy", "sampled"))]
    claims = []
    for claim in part["claims"]:
        note = {"en": " ({})", "zh": "（{}）"}[language].format(claim["note"][language]) if "note" in claim else ""
        claims.append(f"[{claim['caught'][language]}]({claim['link']}){note}")
    headings = ["Catch, balls caught in percent", "ours, greedy", "ours, sampled", "paper", "best public claim"]
    return table(headings, [[translate("20 million frames, seeds 1 to 3", language), *cells, *claims]], language)
