"""What a test asks a broker with failing disks, a line for each answer:
`probe BOOTSTRAP TOPIC`        a record to each partition, tried once: the partition and `ok` or the error's name
`count BOOTSTRAP TOPIC`        each partition and how many of its records can be read, or the error's name
`create BOOTSTRAP TOPIC PARTITIONS`  `ok` or the error's name
`dirs BOOTSTRAP`               each log directory and its error code"""
import sys

verb, bootstrap, *words = sys.argv[1:]
if verb == "dirs":
    from kafka import KafkaAdminClient

    for broker in KafkaAdminClient(bootstrap_servers=bootstrap).describe_log_dirs():
        for directory in broker["log_dirs"] if "log_dirs" in broker else broker["results"]:
            print(directory["log_dir"], directory["error_code"] if "error_code" in directory else directory["error"])
    sys.exit()

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

common = {"bootstrap.servers": bootstrap, "log_level": 0}
if verb == "probe":
    producer = Producer({**common, "retries": 0, "message.timeout.ms": 10_000, "partitioner": "consistent"})
    partitions = AdminClient(common).list_topics(words[0], 20).topics[words[0]].partitions
    for partition in sorted(partitions):
        # More than the rest of a page, which a full file system may still have.
        producer.produce(words[0], b"probe" * 2000, partition=partition,
                         on_delivery=lambda error, message: print(message.partition(), error.name() if error else "ok"))
    producer.flush()
elif verb == "count":
    consumer = Consumer({**common, "group.id": "unused", "enable.partition.eof": True, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    partitions = consumer.list_topics(words[0], 20).topics[words[0]].partitions
    counts, reading = dict.fromkeys(partitions, 0), set(partitions)
    consumer.assign([TopicPartition(words[0], partition, 0) for partition in partitions])
    while reading:
        message = consumer.poll(30)
        if message is None:
            counts.update(dict.fromkeys(reading, "nothing"))
            break
        if not message.error():
            counts[message.partition()] += 1
        else:
            if message.error().code() != KafkaError._PARTITION_EOF:
                counts[message.partition()] = message.error().name()
            reading.discard(message.partition())
    for partition, count in counts.items():
        print(partition, count)
elif verb == "create":
    try:
        admin = AdminClient(common)
        admin.create_topics([NewTopic(words[0], int(words[1]), 1)], request_timeout=20)[words[0]].result()
        print("ok")
    except KafkaException as error:
        print(error.args[0].name())
