"""Ways from a picture to the vectors of its faces: OpenCV's, InsightFace's and DeepFace's, of one detector and one
embedder; a peer that is not installed is left out.

What differs between them is how the detector is run, how the face is brought into line and how its pixels are prepared.
The detector is a YuNet file for all, the embedder takes 112 x 112 RGB with ImageNet's mean and deviation. The chains of
OpenCV and InsightFace run YuNet on the picture at its own size, as OpenCV's examples do; InsightFace has no way to run
it, so its chain begins at the landmarks. DeepFace runs it as its backend `yunet`, from ~/.deepface/weights.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]
MEAN, STD = (np.array(each, np.float32) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
SIDE = 112


@dataclass(frozen=True)
class Chain:
    """One tool's way."""

    name: str
    read: Callable[[str], Any]
    """The tool's own way to read a picture."""
    taken: Callable[[Pixels], Any]
    """RGB pixels (H, W, 3) as if they had been read."""
    faces: Callable[[Any], list[tuple[float, Vector]]]
    """What was read → area and vector, of length 1, of each face."""

    def vector(self, pixels: Pixels) -> Vector | None:
        """That of the largest face in RGB pixels; None where no face is found."""
        return max(self.faces(self.taken(pixels)), key=lambda face: face[0], default=(0, None))[1]


@dataclass(frozen=True)
class Weights:
    """Files, the score from which on a face is one, and threads of everything that counts them."""

    detector: Path
    embedder: Path
    sure: float
    threads: int


def chains(weights: Weights) -> list[Chain]:
    """The peers that are installed; the others are named on standard error."""
    found = []
    for make in (opencv, insightface, deepface):
        try:
            found.append(make(weights))
        except ImportError as error:
            print(f"left out {make.__name__}: {error}", file=sys.stderr)
    return found


def unit(vector: NDArray[Any]) -> Vector:
    """A vector of length 1."""
    flat = vector.reshape(-1).astype(np.float32)
    return flat / max(float(np.linalg.norm(flat)), 1e-9)


def session(weights: Weights) -> Any:
    """The embedder in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = weights.threads, 3
    return onnxruntime.InferenceSession(str(weights.embedder), options, providers=["CPUExecutionProvider"])


def finder(weights: Weights) -> Callable[[Pixels], NDArray[np.float32]]:
    """OpenCV's rows of the faces in a BGR picture: x, y, w, h, five landmarks, score."""
    import cv2

    cv2.setNumThreads(weights.threads)
    detector = cv2.FaceDetectorYN.create(str(weights.detector), "", (0, 0), weights.sure, 0.3, 5000)

    def find(bgr: Pixels) -> NDArray[np.float32]:
        detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        faces = detector.detect(bgr)[1]
        return np.zeros((0, 15), np.float32) if faces is None else faces

    return find


def opencv(weights: Weights) -> Chain:
    """FaceDetectorYN, FaceRecognizerSF.alignCrop, and the embedder in OpenCV's own runner."""
    import cv2

    find, net = finder(weights), cv2.dnn.readNet(str(weights.embedder))
    aligner = cv2.FaceRecognizerSF.create(str(weights.embedder), "")

    def vector(aligned: Pixels) -> Vector:
        blob = cv2.dnn.blobFromImage(aligned, 1 / 255, (SIDE, SIDE), 0, swapRB=True)
        net.setInput((blob - MEAN[:, None, None]) / STD[:, None, None])
        return unit(net.forward())

    return _of_bgr("OpenCV", lambda bgr: [(row[2] * row[3], vector(aligner.alignCrop(bgr, row))) for row in find(bgr)])


def insightface(weights: Weights) -> Chain:
    """Its norm_crop and its ArcFaceONNX, on YuNet's landmarks."""
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.utils.face_align import norm_crop

    find, model = finder(weights), ArcFaceONNX(str(weights.embedder), session(weights))
    model.input_mean, model.input_std = (255 * each[:, None, None] for each in (MEAN, STD))

    def vector(bgr: Pixels, landmarks: NDArray[np.float32]) -> Vector:
        aligned = norm_crop(bgr, landmarks.reshape(5, 2), SIDE)
        return unit(model.forward(aligned[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)))

    return _of_bgr("InsightFace", lambda bgr: [(row[2] * row[3], vector(bgr, row[4:14])) for row in find(bgr)])


def deepface(weights: Weights) -> Chain:
    """Its extract_faces, which turns the face by its eyes and cuts out the box, and its resize_image."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["yunet_score_threshold"] = str(weights.sure)  # noqa: SIM112  DeepFace's name
    import cv2
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected
    from deepface.modules.preprocessing import resize_image

    cv2.setNumThreads(weights.threads)
    run = session(weights)
    name = run.get_inputs()[0].name

    def faces(bgr: Pixels) -> list[tuple[float, Vector]]:
        try:
            found = DeepFace.extract_faces(bgr, detector_backend="yunet", align=True)
        except FaceNotDetected:
            return []
        return [(each["facial_area"]["w"] * each["facial_area"]["h"], vector(each["face"])) for each in found]

    def vector(face: NDArray[np.float32]) -> Vector:
        pixels = (resize_image(face, (SIDE, SIDE))[0] - MEAN) / STD
        return unit(run.run(None, {name: pixels.transpose(2, 0, 1)[None].astype(np.float32)})[0])

    return _of_bgr("DeepFace", faces)


def _of_bgr(name: str, faces: Callable[[Any], list[tuple[float, Vector]]]) -> Chain:
    import cv2

    return Chain(name, cv2.imread, lambda rgb: np.ascontiguousarray(rgb[..., ::-1]), faces)
