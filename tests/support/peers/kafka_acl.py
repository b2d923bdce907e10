"""Lets a user do one thing with one topic: SERVERS USER OPERATION TOPIC."""
import sys

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

servers, user, operation, topic = sys.argv[1:]
binding = AclBinding(
    ResourceType.TOPIC,
    topic,
    ResourcePatternType.LITERAL,
    f"User:{user}",
    "*",
    AclOperation[operation],
    AclPermissionType.ALLOW,
)
admin = AdminClient({"bootstrap.servers": servers})
for granted in admin.create_acls([binding]).values():
    granted.result(timeout=20)
