"""Draws a ranking with a probe: ``preceptor recommend --probe FILE --json > ranking.json``, then

``python docs/images/draw_ranking.py ranking.json --title "..." --out docs/images/ranking.svg``. Writes one file for
light pages and one (``...-dark.svg``) for dark ones; both have a transparent background.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

_COLOURS: Final = {
    "": {"text": "#1f2328", "muted": "#59636e", "grid": "#d1d9e0", "best": "#0969da", "rest": "#818b98"},
    "-dark": {"text": "#f0f6fc", "muted": "#9198a1", "grid": "#3d444d", "best": "#4493f8", "rest": "#8b949e"},
}


def draw(ranking: list[dict[str, Any]], title: str, out: Path, colours: dict[str, str]) -> None:
    """One figure: a row a teacher with its score, 90 % interval and probability of being the best."""
    names = [f"{row['rank']}  {row['name']}" for row in ranking]
    pad = 7.2 * max(map(len, names))  # Points: names start at the left edge.
    tied = [row["certainty"]["ties"] == 1 for row in ranking]
    figure, axes = plt.subplots(figsize=(8.6, 0.42 * len(ranking) + 1.35))
    axes.set(ylim=(len(ranking) - 0.5, -0.5), xlabel="score (higher is better), 90 % interval")
    axes.axhspan(-0.5, sum(tied) - 0.5, color=colours["best"], alpha=0.1, linewidth=0)
    axes.axvline(0, color=colours["grid"], linewidth=1, zorder=0)
    for at, row in enumerate(ranking):
        certainty, colour = row["certainty"], colours["best" if tied[at] else "rest"]
        axes.plot([certainty["low"], certainty["high"]], [at, at], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot(row["score"], at, "o", color=colour, markersize=7.5)
        chance = f"{certainty['best']:.2f}" if certainty["best"] >= 0.005 else "0"
        side = {"transform": axes.get_yaxis_transform(), "va": "center", "ha": "right", "clip_on": False}
        axes.text(1.1, at, chance, color=colours["text" if tied[at] else "muted"], **side)
        axes.text(1.24, at, f"{row['classes']}", color=colours["muted"], **side)
    axes.text(1.1, -0.85, "P(best)", transform=axes.get_yaxis_transform(), ha="right", color=colours["muted"])
    axes.text(1.24, -0.85, "classes", transform=axes.get_yaxis_transform(), ha="right", color=colours["muted"])
    axes.text(
        0.02, (sum(tied) - 1) / 2, "tied: this probe\ncannot separate them", transform=axes.get_yaxis_transform(),
        ha="left", va="center", fontsize=9.5, color=colours["best"],
    )  # fmt: skip
    axes.set_yticks(range(len(names)), names, color=colours["text"], ha="left")
    axes.tick_params(length=0, colors=colours["muted"], axis="x")
    axes.tick_params(length=0, axis="y", pad=pad)
    axes.xaxis.label.set_color(colours["muted"])
    axes.spines[:].set_visible(False)
    axes.annotate(
        title, (0, 1), (-pad, 34), xycoords="axes fraction", textcoords="offset points",
        color=colours["text"], fontsize=11.5, fontweight="bold",
    )  # fmt: skip
    figure.savefig(out, transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ranking", type=Path, help="a recommendation, or its result, as JSON")
    parser.add_argument("--title", required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    document = json.loads(asked.ranking.read_text())
    mpl.rcParams.update({"font.size": 10.5, "font.family": "DejaVu Sans", "svg.hashsalt": "preceptor"})
    for suffix, colours in _COLOURS.items():
        out = asked.out.with_stem(asked.out.stem + suffix)
        draw(document.get("result", document)["ranking"], asked.title, out, colours)


if __name__ == "__main__":
    main()
