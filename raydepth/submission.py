"""``raydepth submit``: the same job on a running Ray cluster, whose nodes have raydepth installed."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from raydepth.job import Job, JobError
from raydepth.store.record import resolve


def submit(job: Job, address: str, *, say: Callable[[str], None]) -> int:
    """Sends the resolved job to a cluster, follows its log, and returns the exit code of ``raydepth run`` there.

    Paths in the job are those of the cluster's nodes. Ctrl-C here stops following; the job goes on there.

    Raises:
        JobError: ray[default] is not installed, or there is no cluster at the address.
    """
    try:
        from ray.job_submission import JobSubmissionClient

        client = JobSubmissionClient(address)
    except (ImportError, RuntimeError) as error:
        raise JobError("submit needs ray[default]; pip install 'raydepth[cluster]'") from error
    except ConnectionError as error:
        raise JobError(f"--address {address}: no Ray dashboard answers there: {error}") from error
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "job.yaml").write_text(resolve(job), encoding="utf-8")
        submission = client.submit_job(
            entrypoint="python -m raydepth run job.yaml --address auto",
            runtime_env={"working_dir": directory},
        )
    say(f"submitted as {submission}; stop it with: ray job stop {submission} --address {address}\n")

    async def follow() -> None:
        async for lines in client.tail_job_logs(submission):
            say(lines)

    asyncio.run(follow())
    code = client.get_job_info(submission).driver_exit_code
    return 1 if code is None else code
