"""Everything that clients can see on a broker, one line each, always in the same order: `swap_view.py BOOTSTRAP FILE`. Of a compacted topic only the
last value of each key counts, because what came before goes when the broker pleases."""
import json, sys, time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, OffsetSpec, ResourceType

bootstrap, path = sys.argv[1:]
common = {"bootstrap.servers": bootstrap, "log_level": 0}
admin = AdminClient(common)
lines = []


def say(*parts):
    lines.append(json.dumps(parts, default=lambda value: value.decode("latin-1") if isinstance(value, bytes) else str(value)))


def records(partitions, isolation):
    consumer = Consumer({**common, "group.id": "view", "isolation.level": isolation, "enable.partition.eof": True, "enable.auto.commit": False,
                         "auto.offset.reset": "error", "fetch.wait.max.ms": 20})
    consumer.assign([TopicPartition(topic, partition, low) for topic, partition, low in partitions])
    left, found = {(topic, partition) for topic, partition, _ in partitions}, []
    while left:
        for message in consumer.consume(5000, 1.0):
            if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                left.discard((message.topic(), message.partition()))
            elif message.error():
                sys.exit(f"{message.error()}")
            else:
                found.append((message.topic(), message.partition(), message.offset(), message.timestamp(), message.key(), message.value(),
                              message.headers(), message.leader_epoch()))
    consumer.close()
    return sorted(found, key=lambda record: record[:3])


names = sorted(name for name in admin.list_topics(timeout=60).topics if not name.startswith("__"))
described = admin.describe_topics(TopicCollection(names))
compacted, partitions = set(), []
for name in names:
    topic = described[name].result()
    resource = ConfigResource(ResourceType.TOPIC, name)
    configs = admin.describe_configs([resource])[resource].result().values()
    configs = {entry.name: entry.value for entry in configs if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value}
    say("topic", name, topic.topic_id, len(topic.partitions), dict(sorted(configs.items())))
    if "compact" in configs.get("cleanup.policy", ""):
        compacted.add(name)
    partitions += [TopicPartition(name, partition.id) for partition in topic.partitions]


# What a broker says that has just begun, while its metadata are ahead of its partitions.
NOT_YET = (KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)


def offsets(spec, isolation=IsolationLevel.READ_UNCOMMITTED):
    end = time.time() + 60
    while True:
        found = admin.list_offsets({partition: spec for partition in partitions}, isolation_level=isolation)
        try:
            return {(partition.topic, partition.partition): future.result().offset for partition, future in found.items()}
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET or time.time() > end:
                raise
            time.sleep(0.1)


low, high = offsets(OffsetSpec.earliest()), offsets(OffsetSpec.latest())
stable, newest = offsets(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED), offsets(OffsetSpec.max_timestamp())
for place in sorted(low):
    say("offsets", place, low[place], high[place], stable[place], newest[place])
everything = [(topic, partition, low[topic, partition]) for topic, partition in sorted(low)]
for isolation in ("read_uncommitted", "read_committed"):
    last = {}
    for record in records(everything, isolation):
        if record[0] in compacted:
            last[record[0], record[4]] = record
        else:
            say(isolation, *record)
    for place in sorted(last):
        say(isolation, "last", *last[place])
groups = sorted(admin.list_consumer_groups().result().valid, key=lambda group: group.group_id)
for group in groups:
    committed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group.group_id)])[group.group_id].result().topic_partitions
    say("group", group.group_id, group.type, sorted((place.topic, place.partition, place.offset, place.metadata) for place in committed))
with open(path, "w") as out:
    out.writelines(line + "\n" for line in lines)
