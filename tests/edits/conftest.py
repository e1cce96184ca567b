"""OpenCV works on one thread while edits are planned and pasted."""

import cv2
import pytest


@pytest.fixture(autouse=True)
def one_thread():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)
