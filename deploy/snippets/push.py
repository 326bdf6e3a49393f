"""Tells the push service what happened to a booking. Python 3.8 or later, standard library only.

PUSH_URL is the service's address, PUSH_API_KEY a key with the scope `send`.
"""
import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timezone

TRIES = 5
TIMEOUT_SECONDS = 10
PAUSE_SECONDS_MAX = 30
# The service or something before it is busy or away: another try may get through.
AGAIN = (429, 502, 503, 504)


class PushError(Exception):
    """The event was not taken; says why."""


def assign_technician(booking, technician, **options):
    """booking: {"customerId", "bookingId", "trackId"}; technician: {"name"}."""
    return tell({"event": "technician_assigned", **booking, "technician": technician}, **options)


def update_booking_status(booking, old_status, new_status, technician=None, **options):
    """The same with the two statuses; the technician may be left out where the text does not name one."""
    event = {"event": "status_changed", **booking, "technician": technician, "oldStatus": old_status, "newStatus": new_status}
    return tell(event, **options)


def tell(event, occurred_at=None, key=None):
    """Returns the service's answer.

    occurred_at: when it happened (with its time zone), if not now. key: your own id of the event, if your program may call
    again for the same one.
    """
    occurred_at = occurred_at or datetime.now(timezone.utc)
    # The same key and body at every try: however many get through, the customer is told once.
    request = urllib.request.Request(
        os.environ["PUSH_URL"] + "/api/Push/events",
        data=json.dumps({**event, "occurredAt": occurred_at.isoformat()}).encode(),
        headers={
            "Authorization": "Bearer " + os.environ["PUSH_API_KEY"],
            "Content-Type": "application/json",
            "Idempotency-Key": key or str(uuid.uuid4()),
        },
    )
    tried = 0
    while True:
        tried += 1
        asked = ""
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            problem, asked = error.read().decode(errors="replace"), error.headers.get("Retry-After", "")
            if error.code not in AGAIN:
                raise PushError(problem) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = repr(error)
        if tried == TRIES:
            raise PushError(problem)
        pause = float(asked) if asked.isdigit() else 0.5 * 2**tried * random.uniform(0.5, 1.5)
        time.sleep(min(pause, PAUSE_SECONDS_MAX))
