"""Drives a server with the client that openapi-python-client makes of schemas/openapi.yaml.

    generated.py URL FOLDER RUNBOOK

FOLDER holds the package `opsroom_client`. The key is in OPSROOM_KEY. Starts a run, twice with the same
Idempotency-Key, waits for its end, lists it, reads its steps and events, and a run that is not there. Prints one
JSON object with what it found.
"""

import json
import os
import sys
import time
import uuid

URL, FOLDER, RUNBOOK = sys.argv[1:4]
sys.path.insert(0, FOLDER)

from opsroom_client import AuthenticatedClient  # noqa: E402
from opsroom_client.api.events import list_events  # noqa: E402
from opsroom_client.api.runs import create_run, get_run, list_runs, list_steps  # noqa: E402
from opsroom_client.models import CreateRun, Labels, Object, Problem, RunStatus  # noqa: E402

ENDED = {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT}


def wait(client, run):
    deadline = time.monotonic() + 60
    while run.status not in ENDED:
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
        run = get_run.sync(run.id, client=client)
    return run


def main():
    client = AuthenticatedClient(base_url=URL, token=os.environ["OPSROOM_KEY"])
    labels, params = Labels.from_dict({"made-by": "python"}), Object.from_dict({"who": "ann"})
    body = CreateRun(runbook=RUNBOOK, params=params, labels=labels)
    key = str(uuid.uuid4())
    first = create_run.sync(client=client, body=body, idempotency_key=key)
    again = create_run.sync(client=client, body=body, idempotency_key=key)
    assert first.id == again.id, (first, again)
    ended = wait(client, first)
    listed = list_runs.sync(client=client, label=["made-by=python"], status=[RunStatus.SUCCEEDED], limit=10)
    missing = get_run.sync_detailed(uuid.UUID("fe999999-0000-7000-8000-000000000000"), client=client)
    assert isinstance(missing.parsed, Problem), missing
    found = {
        "id": str(first.id),
        "status": str(ended.status),
        "listed": [str(run.id) for run in listed.items],
        "steps": [(step.id, str(step.status)) for step in list_steps.sync(first.id, client=client).items],
        "events": list_events.sync(first.id, client=client).count,
        "missing": [missing.status_code, missing.parsed.code],
    }
    print(json.dumps(found))


main()
