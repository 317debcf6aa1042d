"""What is taken for what, by hand and against a plain loop."""

import numpy as np
import pytest
from detection_reference import boxes, scene, truth

from sightline.metrics.box_pool import pool
from sightline.metrics.boxes import coverage, iou
from sightline.metrics.detection_confusion import box_confusion

THING, NEAR, FAR = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]


def entries(found, there):
    table = box_confusion(pool([found], [there], 2))
    return {tuple(map(int, cell)): int(table[tuple(cell)]) for cell in np.argwhere(table)}


@pytest.mark.parametrize(
    ("answer", "there", "wanted"),
    [
        (boxes([THING], [0.9], [0]), truth([THING], [0]), {(0, 0): 1}),
        (boxes([THING], [0.9], [1]), truth([THING], [0]), {(0, 1): 1}),
        (boxes([FAR], [0.9], [1]), truth([THING], [0]), {(0, 2): 1, (2, 1): 1}),
        (boxes([FAR], [0.9], [1], claimed=[False]), truth([THING], [0]), {(0, 2): 1}),
        (boxes([NEAR, THING], [0.9, 0.8], [1, 0]), truth([THING], [0]), {(0, 0): 1, (2, 1): 1}),  # the nearer one
        (boxes([THING, THING], [0.9, 0.8], [1, 0]), truth([THING], [0]), {(0, 1): 1, (2, 0): 1}),  # the surer one
        (boxes([THING, FAR], [0.9, 0.8], [1, 1]), truth([THING], [0], crowd=[True]), {(2, 1): 1}),
        (boxes([THING], [0.9], [1]), truth([THING], [0], difficult=[True]), {}),
        (boxes([], [], []), truth([], []), {}),
    ],
)
def test_a_box_and_a_thing(answer, there, wanted):
    assert entries(answer, there) == wanted


@pytest.mark.parametrize("seed", range(5))
def test_as_a_plain_loop_over_pictures_says(seed):
    found, target = scene(seed, pictures=15, difficult=0.2)
    wanted = np.zeros((4, 4), int)
    for answer, there in zip(found, target):
        ignored = there.crowd | there.difficult
        own, kind = answer.xyxy[answer.claimed].astype(float), answer.indexes[answer.claimed]
        table = iou(own, there.xyxy[~ignored])
        on_ignored = np.where(there.crowd, coverage(own, there.xyxy), iou(own, there.xyxy))[:, ignored].max(
            axis=1, initial=0
        )
        label = there.indexes[~ignored]
        boxes_left, things_left = set(range(len(own))), set(range(len(label)))
        for flat in np.argsort(-table, axis=None, kind="stable"):
            box, thing = divmod(int(flat), max(1, len(label)))
            if table[box, thing] >= 0.5 and box in boxes_left and thing in things_left:
                wanted[label[thing], kind[box]] += 1
                boxes_left.remove(box)
                things_left.remove(thing)
        for box in boxes_left:
            wanted[3, kind[box]] += on_ignored[box] < 0.5
        for thing in things_left:
            wanted[label[thing], 3] += 1
    assert box_confusion(pool(found, target, 3)).tolist() == wanted.tolist()
    assert wanted[:3, :3].sum() > 5 and wanted[3].sum() > 5
