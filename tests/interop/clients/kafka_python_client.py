"""kafka-python; the verbs are those of aiokafka_client.py."""
import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import KafkaError

verb, bootstrap, topic, last, group = (sys.argv[1:] + [None, None])[:5]
if verb == "produce":
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=None if last == "none" else last, linger_ms=20,
                             batch_size=200_000, acks="all", max_in_flight_requests_per_connection=1, enable_idempotence=True, retries=1000,
                             delivery_timeout_ms=120_000)
    sent = []
    for line in sys.stdin.buffer:
        key, value = line.rstrip(b"\n").split(b"\t", 1)
        sent.append(producer.send(topic, value, key))
    producer.flush()
    for result in sent:
        result.get(120)
elif verb == "transact":

    def new_producer():
        producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"kafka-python-{topic}", linger_ms=5, retries=1000,
                                 request_timeout_ms=5_000, delivery_timeout_ms=15_000)
        producer.init_transactions()
        return producer

    producer = new_producer()

    def send(batch, commit):
        """A transaction; committed, its records are there. kafka-python 3.0 forgets an AddPartitionsToTxn whose coordinator refuses the
        connection, and then the records of those partitions expire, which a commit does not tell, but each of them does: what was not
        written goes into a transaction more."""
        global producer
        while batch:
            try:
                producer.begin_transaction()
                sent = [producer.send(topic, value, key) for key, value in batch]
                if not commit:
                    return producer.abort_transaction()
                producer.commit_transaction()
            except KafkaError:  # it was not: an error is told only when no answer is open
                producer.close(0)
                producer = new_producer()
                continue
            batch = [record for record, result in zip(batch, sent) if not result.succeeded()]

    batch, number = [], 0
    for line in sys.stdin.buffer:
        batch.append(line.rstrip(b"\n").split(b"\t", 1))
        if len(batch) == 1000:
            if number % 3 == 2:
                send(batch, False)
            send(batch, True)
            batch, number = [], number + 1
    send(batch, True)
    producer.close()
elif verb == "admin":
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    client.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "12345000"})])
    client.create_partitions({topic: NewPartitions(3)})
    time.sleep(0.3)
    described = client.describe_topics([topic])
    print("partitions", len(described[0]["partitions"]))
    print("listed", topic in client.list_topics())
    client.delete_topics([topic])
    time.sleep(0.3)
    print("listed", topic in client.list_topics())
    client.close()
else:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", consumer_timeout_ms=30_000,
                             enable_auto_commit=False, isolation_level="read_committed", max_poll_records=1000)
    if group:
        consumer.subscribe([topic])
    else:
        consumer.assign([TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)])
    left = int(last)
    out = sys.stdout.buffer
    for record in consumer:
        out.write(b"%d\t%d\t%s\t%s\n" % (record.partition, record.offset, record.key, record.value))
        left -= 1
        if left == 0:
            break
    if left:
        sys.exit(f"{left} records missing")
    if group:
        consumer.commit()
    consumer.close()
