"""A user's project to submit from."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.clips import write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: a clip of 40 frames with depth files, of which frame 17's is missing."""
    folder = tmp_path_factory.mktemp("project")
    write_clip(folder / "clip.mp4", frames=40)
    (folder / "depth").mkdir()
    for i in range(40):
        depth = np.full((96, 128), 3.0, np.float32)
        depth[32:88, 4 + 2 * i : 36 + 2 * i] = 1.0
        if i != 17:
            np.save(folder / f"depth/{i}.npy", depth)
    return folder
