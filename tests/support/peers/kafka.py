"""A program of the guide's Kafka section, with confluent-kafka: SERVERS NODE_ID.

Reads one command per line from standard input and answers each with one JSON object per line:
    send EVENT       -> {"topic", "partition", "offset"}: where the producer wrote the event
    next PATTERN     -> the next event that has all of PATTERN's fields, as {"topic", "key", "headers", "event", "applied"},
                        or {"timeout": EVENTS}
"""
import json
import sys
import time

from confluent_kafka import Consumer, Producer

TOPICS = ["apg-config-general", "apg-config-database", "apg-config-security", "apg-config-features"]
LIMIT = 30


def fits(pattern, fields):
    return all(fields.get(name) == value for name, value in pattern.items())


class ConfigEventProducer:
    def __init__(self, servers):
        self.producer = Producer({
            "bootstrap.servers": servers,
            "compression.type": "gzip",
            "message.max.bytes": 10485760,
            "request.timeout.ms": 30000,
            "retry.backoff.ms": 1000,
            "retries": 5,
            "acks": "all",
            "enable.idempotence": True,
        })

    def send_config_event(self, event, config_key):
        written = []
        self.producer.produce(
            self.get_topic_for_config(config_key),
            key=f"{event.get('tenant_id') or 'default'}:{config_key or 'system'}".encode(),
            value=json.dumps(event).encode(),
            headers=[
                ("event_type", event.get("event_type", "").encode()),
                ("tenant_id", (event.get("tenant_id") or "").encode()),
                ("timestamp", str(int(time.time())).encode()),
            ],
            on_delivery=lambda error, message: written.append((error, message)),
        )
        self.producer.flush(LIMIT)
        error, message = written[0]
        if error:
            sys.exit(str(error))
        return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}

    def get_topic_for_config(self, config_key):
        if not config_key:
            return "apg-config-general"
        for prefix in ["database", "security", "features"]:
            if config_key.startswith(f"app.{prefix}."):
                return f"apg-config-{prefix}"
        return "apg-config-general"


class ConfigEventConsumer:
    def __init__(self, servers, node_id):
        self.node_id = node_id
        self.waiting = []
        self.consumer = Consumer({
            "bootstrap.servers": servers,
            "group.id": f"{node_id}-{time.time_ns()}",
            # The guide's program starts before the changes it waits for; this one need not.
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 1000,
            "session.timeout.ms": 30000,
            "heartbeat.interval.ms": 10000,
        })
        self.consumer.subscribe(TOPICS)

    def next(self, pattern):
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            for i, event in enumerate(self.waiting):
                if fits(pattern, event["event"]):
                    return self.waiting.pop(i)
            message = self.consumer.poll(0.2)
            if message and not message.error():
                self.waiting.append(self.process_event(message))
        return {"timeout": self.waiting}

    def process_event(self, message):
        event = json.loads(message.value().decode("utf-8"))
        headers = {name: value.decode() for name, value in message.headers() or []}
        return {
            "topic": message.topic(),
            "key": message.key().decode() if message.key() else None,
            "headers": headers,
            "event": event,
            "applied": self.handle(event, headers),
        }

    def handle(self, event, headers):
        """What the guide's program does with an event: nothing with its own, else it applies it."""
        if event.get("source_node") == self.node_id:
            return None
        return {
            "event_type": headers.get("event_type", event.get("event_type")),
            "config_key": event.get("config_key"),
            "new_value": event.get("new_value"),
            "tenant_id": event.get("tenant_id"),
        }


def main(servers, node_id):
    producer, consumer = ConfigEventProducer(servers), ConfigEventConsumer(servers, node_id)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        argument = json.loads(argument)
        if command == "send":
            answer = producer.send_config_event(argument, argument.get("config_key"))
        elif command == "next":
            answer = consumer.next(argument)
        else:
            sys.exit(f"unknown command: {command}")
        print(json.dumps(answer), flush=True)
    consumer.consumer.close()


main(*sys.argv[1:])
