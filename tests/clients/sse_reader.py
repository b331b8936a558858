"""Follows a run with httpx-sse over a connection that breaks again and again.

    sse_reader.py URL RUN [SEED]

The key is in OPSROOM_KEY. Every event must come exactly once and in order, whatever was cut; at the end the
durable ones are compared with the history. Prints one JSON object: events, durable, reconnects, seed.
"""

import json
import os
import random
import sys

import httpx
import httpx_sse

URL, RUN = sys.argv[1:3]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
HEADERS = {"authorization": f"Bearer {os.environ['OPSROOM_KEY']}"}
# Longer than two heartbeats; a whole run of the test ends long before.
TIMEOUT = httpx.Timeout(60.0)
# So often it hangs up by itself, then it reads on to the end.
CUTS = 20


def is_chunk(event):
    kind = (event["event"]["category"], event["event"]["action"])
    return kind in {("system", "log"), ("llm", "stream")}


def read_until(client, last_id, limit):
    """Up to `limit` events after `last_id`, and whether the stream was closed for good."""
    headers = {"last-event-id": last_id} if last_id else {}
    events = []
    with httpx_sse.connect_sse(client, "GET", f"{URL}/v1/runs/{RUN}/events/stream", headers=headers) as source:
        source.response.raise_for_status()
        for message in source.iter_sse():
            if message.event == "close":
                return events, True
            if message.data == "":
                # `retry` alone: httpx-sse hands on what the standard says is no event.
                continue
            event = json.loads(message.data)
            assert message.event == f"{event['event']['category']}.{event['event']['action']}", message
            assert message.id.endswith(f"-{event['sequence']}"), message
            events.append((message.id, event))
            if len(events) == limit:
                return events, False
    return events, False


def follow(client, dice):
    received, last_id, cuts, closed = [], "", 0, False
    while not closed:
        limit = dice.randint(1, 25) if cuts < CUTS else None
        try:
            events, closed = read_until(client, last_id, limit)
        except httpx.TransportError as error:
            print(f"cut by the other side: {error}", file=sys.stderr)
            events = []
        if events:
            last_id = events[-1][0]
        received += [event for _, event in events]
        cuts += not closed
        assert cuts < 10 * CUTS, "the stream never ends"
    return received, cuts


def history(client):
    events, start = [], "-"
    while start is not None:
        answer = client.get(f"{URL}/v1/runs/{RUN}/events", params={"start_id": start, "limit": 500})
        answer.raise_for_status()
        page = answer.json()
        events += page["events"]
        start = page["next_id"]
    return events


def main():
    with httpx.Client(headers=HEADERS, timeout=TIMEOUT) as client:
        received, cuts = follow(client, random.Random(SEED))
        sequences = [event["sequence"] for event in received]
        assert sequences == sorted(set(sequences)), f"seed {SEED}: twice or out of order: {sequences}"
        for before, event in zip(received, received[1:]):
            assert event["prev"] <= before["sequence"], f"seed {SEED}: a gap before {event['sequence']}"
        durable = [event for event in received if not is_chunk(event)]
        stored = [event for event in history(client) if not is_chunk(event)]
        assert durable == stored, f"seed {SEED}: {len(durable)} durable events came, {len(stored)} are stored"
        assert received[-1]["event"]["action"] == "run_finished", received[-1]
    print(json.dumps({"events": len(received), "durable": len(durable), "reconnects": cuts, "seed": SEED}))


main()
