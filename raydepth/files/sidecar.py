"""Sidecar files of frames (depth maps, true edits), named by a pattern in the job."""

import string

from raydepth.errors import JobError
from raydepth.files import storage

_FIELDS = ("parent", "stem", "frame_index", "pts", "image")


class SidecarPattern:
    """A pattern that names one sidecar file for every frame.

    It may hold these fields, each with a format as in ``{frame_index:06d}``:

    * ``{parent}``: the folder that the source lies in,
    * ``{stem}``: the source's name without ending,
    * ``{frame_index}`` and ``{pts}``,
    * ``{image}``: the picture's name without ending, where the source is a folder of pictures.
    """

    def __init__(self, pattern: str, endings: tuple[str, ...], what: str) -> None:
        """Checks the pattern.

        Args:
            pattern: as above.
            endings: one of them must be the pattern's.
            what: what the files are, for messages.

        Raises:
            JobError: the pattern is malformed or has another ending.
        """
        self.pattern = pattern
        try:
            pattern.format(parent="", stem="", frame_index=0, pts=0, image="")
        except (KeyError, IndexError, ValueError) as error:
            allowed = ", ".join(f"{{{name}}}" for name in _FIELDS)
            raise JobError(
                f"{what} {pattern!r}: {error!r}; allowed: {allowed} with formats as "
                f"{{frame_index:06d}}"
            ) from error
        if not pattern.endswith(endings):
            raise JobError(
                f"{what} {pattern!r}: expected a pattern that ends in {', '.join(endings)}"
            )
        self.needs_image = any(
            field == "image" for _, field, _, _ in string.Formatter().parse(pattern)
        )

    def path(self, source: str, *, frame_index: int, pts: int, image: str | None) -> str:
        """The file that belongs to a frame, whether it is there or not.

        Args:
            source: path or URI of the video, or of the folder of pictures.
            frame_index: the frame's index in it.
            pts: the frame's time stamp.
            image: name of the frame's picture; None: the source is a video.
        """
        path = self.pattern.format(
            parent=storage.parent(source),
            stem=storage.stem(source),
            frame_index=frame_index,
            pts=pts,
            image="" if image is None else storage.stem(image),
        )
        is_sidecar = storage.is_remote(source) and self.pattern.startswith("{parent}")
        return path + storage.locate(source).query if is_sidecar else path
