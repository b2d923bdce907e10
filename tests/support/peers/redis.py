"""A program that shares configuration through Redis, with redis-py: PORT USER PASSWORD TENANT (`global` for none).

Reads one command per line from standard input and answers each with one JSON object per line:
    listen           -> {"channel"}, once the server has the subscription
    change CHANGE    -> {"entry"}: the entry of the stream that the change was written into
    next PATTERN     -> waits to be woken by the channel, then the next change of the stream that has all of PATTERN's
                        fields, as {"hint", "entry", "fields", "change"}, or {"timeout": ENTRIES}
    cached KEY       -> {"change"}: what the cache has for the key
"""
import json
import sys
import time

import redis

LIMIT = 30


def fits(pattern, fields):
    return all(fields.get(name) == value for name, value in pattern.items())


class RedisConfig:
    def __init__(self, port, user, password, tenant):
        self.redis = redis.Redis(
            host="127.0.0.1", port=port, username=user, password=password, decode_responses=True
        )
        self.channel = f"apg-config:events:{tenant}"
        self.stream = f"apg-config:log:{tenant}"
        self.cache = f"apg-config:cache:{tenant}"
        self.last, self.hints, self.waiting = "0-0", [], []
        self.subscription = self.redis.pubsub()

    def listen(self):
        self.subscription.subscribe(self.channel)
        confirmed = self.subscription.get_message(timeout=LIMIT)
        return {"channel": confirmed["channel"]}

    def change(self, change):
        return {"entry": self.redis.xadd(self.stream, {"data": json.dumps(change)})}

    def next(self, pattern):
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            for i, entry in enumerate(self.waiting):
                if fits(pattern, entry["change"]):
                    return self.waiting.pop(i)
            hint = self.subscription.get_message(timeout=0.2)
            if hint:
                self.read(hint["data"])
        return {"timeout": self.waiting}

    def read(self, hint):
        for _, entries in self.redis.xread({self.stream: self.last}) or []:
            for self.last, fields in entries:
                change = json.loads(fields["data"])
                self.waiting.append({"hint": hint, "entry": self.last, "fields": fields, "change": change})

    def cached(self, key):
        cell = self.redis.hget(self.cache, key)
        return {"change": json.loads(cell) if cell else None}


def main(port, user, password, tenant):
    config = RedisConfig(int(port), user, password, tenant)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "listen":
            answer = config.listen()
        elif command == "change":
            answer = config.change(json.loads(argument))
        elif command == "next":
            answer = config.next(json.loads(argument))
        elif command == "cached":
            answer = config.cached(argument)
        else:
            sys.exit(f"unknown command: {command}")
        print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
