"""kafka-python: produce BOOTSTRAP TOPIC CODEC < key<TAB>value lines; consume BOOTSTRAP TOPIC COUNT > partition, offset, key, value."""
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

verb, bootstrap, topic, last = sys.argv[1:5]
if verb == "produce":
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=None if last == "none" else last, linger_ms=20,
                             batch_size=200_000, acks="all", max_in_flight_requests_per_connection=1)
    sent = []
    for line in sys.stdin.buffer:
        key, value = line.rstrip(b"\n").split(b"\t", 1)
        sent.append(producer.send(topic, value, key))
    producer.flush()
    for result in sent:
        result.get(60)
else:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest", consumer_timeout_ms=30_000)
    consumer.assign([TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)])
    left = int(last)
    out = sys.stdout.buffer
    for record in consumer:
        out.write(b"%d\t%d\t%s\t%s\n" % (record.partition, record.offset, record.key, record.value))
        left -= 1
        if left == 0:
            break
