"""The guide's lock on Redis, as a program has it that shares nothing with the host but the server: PORT USER PASSWORD.

It makes the guide's calls in the guide's order: SET NX with an expiry, GET and EXPIRE for a user who asks again, GET and
DEL to give back, an EXPIRE now and then by whoever thinks that the lock is his. Nothing of it is atomic, and no store hears
of it; that is what it is here for.

Without more arguments it reads one command per line and answers each with one JSON object per line:
    acquire KEY USER SECONDS  -> {"acquired": BOOL}
    release KEY USER          -> {"released": BOOL}
    force_release KEY ADMIN   -> {"released": BOOL}
    info KEY                  -> {"lock": LOCK or null}
    list                      -> {"locks": [LOCK]}

With `run KEY USER TTL_MS COMMAND...` it waits for the lock, runs the command while a heartbeat goes, and gives it back. The
guide's times are whole seconds; here they are shorter, and everything else is the same.
"""
import json
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import redis

PREFIX = "config_lock:"
NO_TENANT = "global:"


class GuideLock:
    def __init__(self, port, user, password, default_timeout=300.0, heartbeat_interval=30.0):
        self.redis = redis.Redis(
            host="127.0.0.1", port=port, username=user, password=password, decode_responses=True
        )
        self.default_timeout = default_timeout
        self.heartbeat_interval = heartbeat_interval
        self.heartbeats = {}

    def name(self, key):
        return f"{PREFIX}{NO_TENANT}{key}"

    def acquire(self, key, user, timeout=None):
        timeout = timeout or self.default_timeout
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        lock = {
            "config_key": key,
            "user_id": user,
            "tenant_id": None,
            "acquired_at": now.isoformat(),
            "expires_at": (now + timedelta(seconds=timeout)).isoformat(),
            "heartbeat_interval": self.heartbeat_interval,
            "metadata": {},
        }
        if self.redis.set(self.name(key), json.dumps(lock), nx=True, px=int(timeout * 1000)):
            return True
        held = self.redis.get(self.name(key))
        if held and json.loads(held).get("user_id") == user:
            self.extend(key, timeout)
            return True
        return False

    def release(self, key, user):
        held = self.redis.get(self.name(key))
        if not held or json.loads(held).get("user_id") != user:
            return False
        return bool(self.redis.delete(self.name(key)))

    def force_release(self, key):
        return bool(self.redis.delete(self.name(key)))

    def info(self, key):
        held = self.redis.get(self.name(key))
        return json.loads(held) if held else None

    def list(self):
        held = [self.redis.get(name) for name in self.redis.keys(f"{PREFIX}{NO_TENANT}*")]
        return [json.loads(lock) for lock in held if lock]

    def extend(self, key, timeout):
        # Whoever holds it: the guide does not look.
        self.redis.pexpire(self.name(key), int(timeout * 1000))

    def start_heartbeat(self, key):
        is_over = threading.Event()
        self.heartbeats[key] = is_over

        def beat():
            try:
                while not is_over.is_set():
                    self.extend(key, self.default_timeout)
                    is_over.wait(self.heartbeat_interval)
            except redis.RedisError:
                pass

        threading.Thread(target=beat, daemon=True).start()

    def stop_heartbeat(self, key):
        self.heartbeats.pop(key).set()


def run(lock, key, user, command):
    while True:
        try:
            if lock.acquire(key, user):
                break
        except redis.RedisError:
            pass
        time.sleep(0.005)
    lock.start_heartbeat(key)
    code = subprocess.call(command)
    lock.stop_heartbeat(key)
    try:
        lock.release(key, user)
    except redis.RedisError:
        pass
    sys.exit(code)


def serve(lock):
    for line in sys.stdin:
        command, *words = line.split()
        if command == "acquire":
            answer = {"acquired": lock.acquire(words[0], words[1], float(words[2]))}
        elif command == "release":
            answer = {"released": lock.release(words[0], words[1])}
        elif command == "force_release":
            answer = {"released": lock.force_release(words[0])}
        elif command == "info":
            answer = {"lock": lock.info(words[0])}
        elif command == "list":
            answer = {"locks": lock.list()}
        else:
            sys.exit(f"unknown command: {command}")
        print(json.dumps(answer), flush=True)


def main(port, user, password, *more):
    if not more:
        return serve(GuideLock(int(port), user, password))
    _, key, who, ttl_ms, *command = more
    ttl = int(ttl_ms) / 1000
    run(GuideLock(int(port), user, password, ttl, ttl / 3), key, who, command)


main(*sys.argv[1:])
