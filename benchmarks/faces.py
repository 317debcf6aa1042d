"""A face detector's boxes and landmarks beside OpenCV's own runner of the same file.

    python benchmarks/faces.py yunet_n_640_640.onnx PICTURES...

The python that runs it needs opencv-python beside sightline. Both see the same pixels, each picture brought to fit the
detector's square and padded on the right and below; faces above a score of 0.6 are held against the nearest of ours. Of
two boxes that reach beyond the picture OpenCV may keep both, where we compare what lies within.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDE, SURE = 640, 0.6


def main() -> None:
    import cv2

    import sightline
    from sightline.core.events import drain
    from sightline.verbs.import_onnx import Wish, import_onnx

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detector", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        drain(import_onnx(asked.detector, Wish(layout="yunet", classes="face"), Path(folder) / "model"))
        model = sightline.load(Path(folder) / "model")
        theirs: Any = cv2.FaceDetectorYN.create(str(asked.detector), "", (SIDE, SIDE), SURE, 0.3, 5000)
        apart, counts, seconds = [], [0, 0], [0.0, 0.0]
        for path in asked.pictures:
            square = fitted(cv2.imread(str(path)))
            begun = time.perf_counter()
            answer = model.predict(np.ascontiguousarray(square[..., ::-1]))
            between = time.perf_counter()
            found = theirs.detect(square)[1]
            seconds = [seconds[0] + between - begun, seconds[1] + time.perf_counter() - between]
            found = np.zeros((0, 15)) if found is None else found
            ours = answer.scores >= SURE
            counts = [counts[0] + int(ours.sum()), counts[1] + len(found)]
            for row in found:
                corners = np.concatenate([row[:2], row[:2] + row[2:4]])
                numbers = np.concatenate([corners, row[4:14]])
                mine = np.concatenate([answer.xyxy, answer.points.reshape(len(answer.xyxy), -1)], axis=1)[ours]
                mine[:, :4], numbers[:4] = np.clip(mine[:, :4], 0, SIDE), np.clip(numbers[:4], 0, SIDE)
                apart.append(np.abs(mine - numbers).max(axis=1).min() if len(mine) else np.inf)
    same = np.array(apart) <= 1
    most = max(np.array(apart)[same], default=0)
    print(
        f"faces: ours {counts[0]}, OpenCV's {counts[1]}; equal to 1 pixel of {SIDE}: {same.sum()}, at most {most:.4f}"
    )
    ours, opencv = (1000 * each / len(asked.pictures) for each in seconds)
    print(f"a picture: ours {ours:.1f} ms, OpenCV's {opencv:.1f} ms")


def fitted(image: Any) -> Any:
    import cv2

    scale = SIDE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    high, wide = (min(side, SIDE) for side in small.shape[:2])
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[:high, :wide] = small[:high, :wide]
    return square


if __name__ == "__main__":
    main()
