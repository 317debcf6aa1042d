"""The palette that sheets, figures and reports share: Okabe and Ito's colours, told apart by colour-blind readers."""

from __future__ import annotations

RIGHT, WRONG, UNSURE = "#0072b2", "#d55e00", "#8a6d00"
"""Blue, vermilion and dark amber: apart in lightness too; a glyph goes with each, as colour alone says nothing."""

ACCENT = RIGHT
INK, QUIET, RULE, GROUND, PAPER = "#1c2126", "#667079", "#d9dee3", "#eceff2", "#ffffff"
"""Text, lesser text, lines, the ground that pictures lie on, the page."""

MARKS = {"right": RIGHT, "wrong": WRONG, "unsure": UNSURE}
"""Mark of a tile → colour; no mark has the colour of a rule."""
