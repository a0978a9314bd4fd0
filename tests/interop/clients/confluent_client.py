"""confluent-kafka (librdkafka): produce BOOTSTRAP TOPIC CODEC < key<TAB>value lines; consume BOOTSTRAP TOPIC COUNT; with `produce-timed`
the first comma-separated field of a value is the record's timestamp in milliseconds; `offsets BOOTSTRAP TOPIC TIMESTAMPS` looks offsets up by time."""
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

verb, bootstrap, topic, last = sys.argv[1:5]
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
elif verb == "consume":
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
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
else:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    for timestamp in last.split(","):
        answer = consumer.offsets_for_times([TopicPartition(topic, p, int(timestamp)) for p in sorted(partitions)], 10)
        print(timestamp, [(p.partition, p.offset) for p in answer])
    for p in sorted(partitions):
        print(p, consumer.get_watermark_offsets(TopicPartition(topic, p), 10))
