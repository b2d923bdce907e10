"""Publishes a message and hears it back: PORT CA USER PASSWORD, or PORT CA CERTIFICATE KEY mtls.

Writes one JSON object: {"heard": TEXT} or {"refused": WHY}.
"""
import json
import queue
import ssl
import sys

import paho.mqtt.client as mqtt

TOPIC = "apg/config/t1/echo"


def main(port, ca, name, secret, kind="password"):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    context = ssl.create_default_context(cafile=ca)
    if kind == "mtls":
        context.load_cert_chain(name, secret)
    else:
        client.username_pw_set(name, secret)
    client.tls_set_context(context)
    outcome = queue.Queue()
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda *_: client.publish(TOPIC, "hello", qos=1)
    client.on_message = lambda _client, _data, message: outcome.put({"heard": message.payload.decode()})
    client.on_disconnect = lambda _client, _data, _flags, reason, _properties: outcome.put({"refused": str(reason)})
    try:
        client.connect("127.0.0.1", int(port))
        client.loop_start()
        print(json.dumps(outcome.get(timeout=20)), flush=True)
    except OSError as error:
        print(json.dumps({"refused": str(error)}), flush=True)


main(*sys.argv[1:])
