"""What Python's own datetime makes of timestamps.

Reads one timestamp per line and answers each with one JSON object per line: whether it says its offset, how Python itself
writes it, and how many seconds ago it is. Text that Python refuses is answered by {"refused": WHY}.
"""
import json
import sys
from datetime import datetime, timezone


def read(text):
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        return {"refused": str(error)}
    instant = parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    return {
        "has_offset": parsed.tzinfo is not None,
        "isoformat": parsed.isoformat(),
        "seconds_ago": (datetime.now(timezone.utc) - instant).total_seconds(),
    }


for line in sys.stdin:
    print(json.dumps(read(line.rstrip("\n"))), flush=True)
