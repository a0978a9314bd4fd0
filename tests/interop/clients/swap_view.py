"""Everything that clients can see on a broker, one line each, always in the same order: `swap_view.py BOOTSTRAP FILE`. Of a compacted topic only the
last value of each key counts, because what came before goes when the broker pleases. Prints what is not to be the same each time: the access control
lists (null without an authorizer) and a producer ID that nobody had yet."""
import base64, json, sys, time, uuid

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, OffsetSpec, ResourceType
from kafka import TopicPartition as Place

from swap_state import Cluster, group_description, share_group_state

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
compacted, partitions, topic_ids = set(), [], {}
for name in names:
    topic = described[name].result()
    resource = ConfigResource(ResourceType.TOPIC, name)
    configs = admin.describe_configs([resource])[resource].result().values()
    configs = {entry.name: entry.value for entry in configs if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value}
    topic_ids[name] = uuid.UUID(bytes=base64.urlsafe_b64decode(f"{topic.topic_id}=="))
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


def dangling():
    return offsets(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)["dangling", 0] < offsets(OffsetSpec.latest())["dangling", 0]


end = time.time() + 60
while dangling():
    if time.time() > end:
        sys.exit("a transaction outlives its timeout")
    time.sleep(0.2)
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
cluster = Cluster(bootstrap)
for line in sorted(cluster.seen(), key=str):
    say(*line)
places = [Place(topic, partition) for topic, partition in sorted(low) if topic in ("plain", "transactions", "open")]
for place, state in sorted(cluster.admin.describe_producers(places).items()):
    for it in sorted(state.active_producers):
        say("producer", place, it.producer_id, it.producer_epoch, it.last_sequence, it.last_timestamp, it.current_transaction_start_offset)
# While a classic group rebalances its members have no assignment to show, and those who are new are not on disk: only static ones are compared.
for member in cluster.admin.describe_groups(["group-static"])["group-static"]["members"]:
    say("static member", member["group_instance_id"], member["member_id"], member["client_id"])
features = cluster.features()
for kind in ("consumer", "share", "streams"):
    if features.get({"consumer": "group"}.get(kind, kind) + ".version"):
        say("group", kind, group_description(bootstrap, kind))
if features.get("streams.version"):
    committed = cluster.admin.list_group_offsets("group-streams")["group-streams"]
    say("group", "group-streams", sorted((place.topic, place.partition, it.offset, it.metadata) for place, it in committed.items()))
if features.get("share.version"):
    for partition in cluster.admin.describe_topics(["shared"])[0]["partitions"]:
        index, leader_epoch = partition["partition_index"], partition["leader_epoch"]
        say("share group", index, share_group_state(bootstrap, "group-share", topic_ids["shared"], index, leader_epoch))
print(json.dumps({"acls": cluster.acls(), "producer_id": cluster.new_producer_id()}))
with open(path, "w") as out:
    out.writelines(line + "\n" for line in lines)
