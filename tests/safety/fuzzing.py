"""What the fuzzed tests share: how many examples they try, and what a refusal must look like."""

from hypothesis import HealthCheck, settings

from raydepth.errors import JobError
from raydepth.files.text import printable

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check_refusal(error: JobError) -> None:
    lines = str(error).splitlines()
    assert lines and all(line.strip() and printable(line) == line for line in lines)
