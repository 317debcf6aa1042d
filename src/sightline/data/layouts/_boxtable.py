"""What the columns of a table of boxes are called."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = {
    "picture": ("imageid", "filename", "path", "image", "imagepath", "file", "filepath", "imagename", "img"),
    "label": ("labelname", "class", "label", "classname", "category", "name"),
    "left": ("xmin", "x1", "left", "bboxxmin"),
    "top": ("ymin", "y1", "top", "bboxymin"),
    "right": ("xmax", "x2", "right", "bboxxmax"),
    "bottom": ("ymax", "y2", "bottom", "bboxymax"),
    "width": ("width", "imagewidth"),
    "height": ("height", "imageheight"),
    "crowd": ("isgroupof", "iscrowd"),
    "difficult": ("difficult",),
    "split": ("split", "set", "subset"),
}
"""What a column may be called; case, blanks and underscores do not count, and the first of two counts."""
NEEDED = ("picture", "label", "left", "top", "right", "bottom")


def has_boxes(header: Sequence[str]) -> bool:
    """Whether a table's header names the corners of boxes, so that it is a table of boxes and not of labels."""
    return all(role in roles_of(header) for role in NEEDED)


def roles_of(header: Sequence[str]) -> dict[str, int]:
    """Role → column number, for the roles that are there."""
    plain_names = [re.sub(r"[\s_.\-]", "", name).lower() for name in header]
    found = {role: [plain_names.index(name) for name in names if name in plain_names] for role, names in _NAMES.items()}
    return {role: columns[0] for role, columns in found.items() if columns}
