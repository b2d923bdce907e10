"""A program of the guide's MQTT section, with paho-mqtt: PORT USER PASSWORD.

Reads one command per line from standard input and answers each with one JSON object per line:
    publish {"config_key", "new_value", "tenant_id"}  -> {"topic", "publisher_id"}
    subscribe PATTERNS                                -> {"filters"}, once the broker has them
    next PATTERN                                      -> the next message whose payload has all of PATTERN's fields, as
                                                         {"topic", "qos", "retain", "payload", "applied"}, or {"timeout": N}
"""
import json
import queue
import sys
import time
import uuid
from datetime import datetime, timezone

import paho.mqtt.client as mqtt

LIMIT = 30


def fits(pattern, fields):
    return all(fields.get(name) == value for name, value in pattern.items())


def connect(client_id, port, user, password):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
    client.username_pw_set(user, password)
    connected = queue.Queue()
    client.on_connect = lambda _client, _data, _flags, reason, _properties: connected.put(reason)

    def wait():
        client.connect("127.0.0.1", port, keepalive=60)
        client.loop_start()
        reason = connected.get(timeout=LIMIT)
        if reason.is_failure:
            sys.exit(f"not connected: {reason}")

    return client, wait


class MQTTConfigPublisher:
    """Connects for each change, as the guide's does."""

    def __init__(self, login):
        self.client_id = f"apg_config_pub_{uuid.uuid4().hex[-8:]}"
        self.login = login

    def publish_config_change(self, config_key, new_value, tenant_id=None):
        topic = f"apg/config/{tenant_id or 'global'}/{'/'.join(config_key.split('.'))}"
        payload = {
            "config_key": config_key,
            "new_value": new_value,
            "timestamp": datetime.now(timezone.utc).replace(tzinfo=None).isoformat(),
            "publisher_id": self.client_id,
        }
        status = f"apg/config/status/{self.client_id}"
        client, wait = connect(self.client_id, *self.login)
        client.will_set(status, "offline", qos=1, retain=True)
        wait()
        client.publish(topic, json.dumps(payload), qos=1, retain=False).wait_for_publish(LIMIT)
        client.publish(status, "online", qos=1, retain=True).wait_for_publish(LIMIT)
        client.disconnect()
        client.loop_stop()
        return {"topic": topic, "publisher_id": self.client_id, "timestamp": payload["timestamp"]}


class MQTTConfigSubscriber:
    def __init__(self, login):
        self.messages = queue.Queue()
        self.waiting = []
        self.granted = queue.Queue()
        self.client, wait = connect(f"apg_config_sub_{uuid.uuid4().hex[-8:]}", *login)
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.client.on_subscribe = lambda *_: self.granted.put(True)
        wait()

    def subscribe_to_configs(self, patterns):
        filters = [f"apg/config/+/{'/'.join(pattern.replace('*', '+').split('.'))}" for pattern in patterns]
        self.client.subscribe([(name, 1) for name in filters])
        self.granted.get(timeout=LIMIT)
        return {"filters": filters}

    def next(self, pattern):
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            for i, message in enumerate(self.waiting):
                if fits(pattern, message["payload"]):
                    return self.waiting.pop(i)
            try:
                self.waiting.append(self.handle_message(self.messages.get(timeout=0.2)))
            except queue.Empty:
                pass
        return {"timeout": self.waiting}

    def handle_message(self, message):
        payload = json.loads(message.payload.decode())
        levels = message.topic.split("/")
        return {
            "topic": message.topic,
            "qos": message.qos,
            "retain": message.retain,
            "payload": payload,
            "applied": {
                "config_key": ".".join(levels[3:]),
                "new_value": payload.get("new_value"),
                "tenant_id": levels[2],
            },
        }


def main(port, user, password):
    login = (int(port), user, password)
    publisher, subscriber = MQTTConfigPublisher(login), MQTTConfigSubscriber(login)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        argument = json.loads(argument)
        if command == "publish":
            answer = publisher.publish_config_change(**argument)
        elif command == "subscribe":
            answer = subscriber.subscribe_to_configs(argument)
        elif command == "next":
            answer = subscriber.next(argument)
        else:
            sys.exit(f"unknown command: {command}")
        print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
