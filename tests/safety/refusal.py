"""What a refusal must look like."""

from raydepth.errors import JobError
from raydepth.files.text import printable


def check_refusal(error: JobError) -> None:
    lines = str(error).splitlines()
    assert lines and all(line.strip() and printable(line) == line for line in lines)
