"""Publishes one event with the Python SDK: publish.py URL binary|structured ID.

Prints what went over the wire and what came back, as one line of JSON.
"""

import base64
import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

url, mode, event_id = sys.argv[1:]
event = CloudEvent(
    {
        "id": event_id,
        "source": "https://python.example/größe",
        "type": "com.example.python",
        "subject": 'Größe: 100 % "€"',
        "time": datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=timezone.utc),
        "datacontenttype": "application/json",
        "partitionkey": "k 1",
    },
    {"text": "Größe €", "number": 12345678901234567890, "list": [1.5, None, True]},
)
make = {"binary": http.to_binary_event, "structured": http.to_structured_event}[mode]
message = make(event)
body = message.body if isinstance(message.body, bytes) else message.body.encode()
request = urllib.request.Request(url, data=body, headers=message.headers, method="POST")
with urllib.request.urlopen(request) as answer:
    status = answer.status
print(json.dumps({"status": status, "headers": dict(message.headers), "body": base64.b64encode(body).decode()}))
