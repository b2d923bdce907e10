"""A WebSocket client that shares no code with the host: Python's `websockets`.

Reads one command per line from standard input and writes one JSON object per line to standard output:
    connect URL          -> the welcome
    send JSON            -> nothing
    next SECONDS         -> the next message, or {"timeout": true}, or {"closed": CODE}
"""
import json
import sys
from contextlib import ExitStack

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def receive(connection, seconds):
    try:
        return json.loads(connection.recv(timeout=seconds))
    except TimeoutError:
        return {"timeout": True}
    except ConnectionClosed as closed:
        return {"closed": closed.rcvd.code if closed.rcvd else None}


def main(connections):
    connection = None
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "connect":
            connection = connections.enter_context(connect(argument, open_timeout=10))
            answer = receive(connection, 10)
        elif command == "send":
            connection.send(argument)
            continue
        elif command == "next":
            answer = receive(connection, float(argument))
        else:
            sys.exit(f"unknown command: {command}")
        print(json.dumps(answer), flush=True)


with ExitStack() as connections:
    main(connections)
