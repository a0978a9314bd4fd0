"""confluent-kafka (librdkafka); the verbs are those of aiokafka_client.py, and some more. With `produce-timed` the first comma-separated field of
a value is the record's timestamp in milliseconds; `offsets BOOTSTRAP TOPIC TIMESTAMPS` looks offsets up by time; `group-consumer` is `group` in the
consumer protocol of KIP-848."""
import sys

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType)

verb, bootstrap, topic, last, group = (sys.argv[1:] + [None, None])[:5]
if verb.startswith("produce"):
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": last, "linger.ms": 20, "enable.idempotence": True,
                         "partitioner": "murmur2_random", "queue.buffering.max.messages": 1_000_000})
    report = lambda error, _: failed.append(error) if error else None
    for line in sys.stdin.buffer:
        key, value = line.rstrip(b"\n").split(b"\t", 1)
        extra = {"timestamp": int(value.split(b",", 1)[0])} if verb == "produce-timed" else {}
        producer.produce(topic, value, key, on_delivery=report, **extra)
        producer.poll(0)
    producer.flush()
    if failed:
        sys.exit(f"{len(failed)} failed: {failed[0]}")
elif verb == "transact":
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"confluent-{topic}", "linger.ms": 5, "transaction.timeout.ms": 120_000})
    producer.init_transactions()

    def until_done(call):
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise

    def send(batch, commit):
        producer.begin_transaction()
        for key, value in batch:
            producer.produce(topic, value, key)
            producer.poll(0)
        until_done(producer.commit_transaction if commit else producer.abort_transaction)

    batch, number = [], 0
    for line in sys.stdin.buffer:
        batch.append(line.rstrip(b"\n").split(b"\t", 1))
        if len(batch) == 1000:
            if number % 3 == 2:
                send(batch, False)
            send(batch, True)
            batch, number = [], number + 1
    if batch:
        send(batch, True)
elif verb == "admin":
    admin = AdminClient({"bootstrap.servers": bootstrap})
    done = lambda futures: [future.result() for future in futures.values()]
    done(admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "12345000"})]))
    done(admin.create_partitions([NewPartitions(topic, 3)]))
    resource = lambda *entries: ConfigResource(ResourceType.TOPIC, topic, incremental_configs=list(entries))
    done(admin.incremental_alter_configs([resource(ConfigEntry("segment.ms", "7654000", incremental_operation=AlterConfigOpType.SET))]))
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(5):
        producer.produce(topic, str(number), partition=0)
    producer.flush()
    print("partitions", len(admin.list_topics(topic).topics[topic].partitions))
    configs = done(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[0]
    print("retention.ms", configs["retention.ms"].value)
    print("segment.ms", configs["segment.ms"].value)
    done(admin.delete_records([TopicPartition(topic, 0, 2)]))
    offsets = [done(admin.list_offsets({TopicPartition(topic, 0): spec}))[0].offset for spec in (OffsetSpec.earliest(), OffsetSpec.latest())]
    print("offsets", *offsets)
    name = f"group-{topic}"
    done(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 0, 3)])]))
    print("committed", done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)]))[0].topic_partitions[0].offset)
    print("group listed", any(group.group_id == name for group in admin.list_consumer_groups().result().valid))
    done(admin.delete_consumer_groups([name]))
    print("group listed", any(group.group_id == name for group in admin.list_consumer_groups().result().valid))
    print("listed", topic in admin.list_topics().topics)
    done(admin.delete_topics([topic]))
    print("listed", topic in admin.list_topics().topics)
elif verb in ("consume", "group", "group-consumer"):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group or "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed", **({"group.protocol": "consumer"} if verb == "group-consumer" else {})})
    if group:
        consumer.subscribe([topic])
    else:
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    left = int(last)
    out = sys.stdout.buffer
    while left > 0:
        records = consumer.consume(min(left, 10_000), 30)
        if not records:
            sys.exit(f"{left} records missing")
        for record in records:
            if record.error():
                sys.exit(str(record.error()))
            out.write(b"%d\t%d\t%s\t%s\n" % (record.partition(), record.offset(), record.key(), record.value()))
        left -= len(records)
    if group:
        consumer.commit(asynchronous=False)
    consumer.close()
else:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    for timestamp in last.split(","):
        answer = consumer.offsets_for_times([TopicPartition(topic, p, int(timestamp)) for p in sorted(partitions)], 10)
        print(timestamp, [(p.partition, p.offset) for p in answer])
    for p in sorted(partitions):
        print(p, consumer.get_watermark_offsets(TopicPartition(topic, p), 10))
