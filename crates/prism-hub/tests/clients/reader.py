"""Reads an event stream with requests-sse, and prints each event as a line of JSON."""

import json
import sys
from datetime import timedelta

from requests_sse import EventSource

url, *names = sys.argv[1:]


def say(event):
    print(json.dumps(event), flush=True)


source = EventSource(
    url,
    # What the server says replaces it.
    reconnection_time=timedelta(minutes=1),
    on_open=lambda: say({"event": "open"}),
)
with source:
    for event in source:
        if event.type in names:
            say({"event": event.type, "data": event.data, "id": event.last_event_id})
