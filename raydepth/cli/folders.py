"""Commands on the output folder of a run: ``status``, ``report``, ``prune``."""

import json

from raydepth.cli.options import AsJson, OutFolder
from raydepth.cli.program import app
from raydepth.errors import JobError
from raydepth.files.text import printable


@app.command()
def status(out: OutFolder, as_json: AsJson = False) -> None:
    """Say what is done, failed and missing in an output folder."""
    from raydepth.output.folder import OutputFolder
    from raydepth.output.ledger import status as read_status

    try:
        state = read_status(OutputFolder.at(out))
    except FileNotFoundError as error:
        raise JobError(f"{out}: no raydepth run has started there (no segments.parquet)") from error
    if as_json:
        print(json.dumps(state))
        return
    print("  ".join(f"{key} {value}" for key, value in state["frames"].items()))
    print(f"{state['shards']} shards, {state['bytes'] / 1e6:.1f} MB")
    for reason, count in state["errors"].items():
        print(printable(f"  {count} x {reason}"))
    for name in state["damaged"]:
        print(printable(f"  damaged, to be done again: {name}"))
    for source in state["unreadable"]:
        print(printable(f"  not read, {source['error_type']}: {source['error_message']}"))
    for source in state["gone"]:
        print(printable(f"  gone, {source['frames']} frames kept aside: {source['path']}"))


@app.command()
def report(out: OutFolder) -> None:
    """Rebuild OUT/report from the shards."""
    from raydepth.output.folder import OutputFolder
    from raydepth.run.summary import rebuild

    print(rebuild(OutputFolder.at(out)))


@app.command()
def prune(out: OutFolder) -> None:
    """Delete the results of sources that the job no longer has, OUT/gone."""
    from raydepth.output.folder import OutputFolder
    from raydepth.output.names import prune as delete_gone

    print(f"{delete_gone(OutputFolder.at(out))} files deleted")
