"""aiokafka. The verbs of all clients here, with `key<TAB>value` lines on stdin:

    produce BOOTSTRAP TOPIC CODEC           idempotent where the client can
    consume BOOTSTRAP TOPIC COUNT           prints partition, offset, key, value
    transact BOOTSTRAP TOPIC                a transaction for each thousand lines; every third is aborted and made again
    group BOOTSTRAP TOPIC COUNT GROUP       as a member of a group: prints as `consume`, commits, leaves
    admin BOOTSTRAP NAME                    makes a topic, looks at it, changes it, deletes it; prints what every client must see"""
import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

verb, bootstrap, topic, *rest = sys.argv[1:]


def lines():
    for line in sys.stdin.buffer:
        key, value = line.rstrip(b"\n").split(b"\t", 1)
        yield key, value


async def produce(codec):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=20,
                                max_batch_size=200_000, enable_idempotence=True, request_timeout_ms=120_000) as producer:
        sent = []
        for key, value in lines():
            sent.append(await producer.send(topic, value, key))
        await producer.flush()
        for result in sent:
            await result


async def transact():
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"aiokafka-{topic}", linger_ms=5, request_timeout_ms=120_000) as producer:
        async def send(batch, commit):
            await producer.begin_transaction()
            for key, value in batch:
                await producer.send(topic, value, key)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
        batch, number = [], 0
        for line in lines():
            batch.append(line)
            if len(batch) == 1000:
                if number % 3 == 2:
                    await send(batch, False)
                await send(batch, True)
                batch, number = [], number + 1
        if batch:
            await send(batch, True)


async def consume(count, group):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                                isolation_level="read_committed")
    if group:
        consumer.subscribe([topic])
    await consumer.start()
    if not group:
        while not consumer.partitions_for_topic(topic):
            await consumer._client.force_metadata_update()
        consumer.assign([TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)])
    while count > 0:
        polled = await consumer.getmany(timeout_ms=30_000, max_records=min(count, 10_000))
        if not polled:
            sys.exit(f"{count} records missing")
        for records in polled.values():
            for record in records:
                sys.stdout.buffer.write(b"%d\t%d\t%s\t%s\n" % (record.partition, record.offset, record.key, record.value))
            count -= len(records)
    if group:
        await consumer.commit()
    await consumer.stop()


async def admin():
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    await client.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "12345000"})])
    await client.create_partitions({topic: NewPartitions(3)})
    await asyncio.sleep(0.3)
    described = await client.describe_topics([topic])
    print("partitions", len(described[0]["partitions"]))
    answer = (await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
    print("retention.ms", next(entry[1] for entry in answer.resources[0][4] if entry[0] == "retention.ms"))
    print("listed", topic in await client.list_topics())
    await client.delete_topics([topic])
    await asyncio.sleep(0.3)
    print("listed", topic in await client.list_topics())
    await client.close()


if verb == "produce":
    asyncio.run(produce(rest[0]))
elif verb == "transact":
    asyncio.run(transact())
elif verb == "admin":
    asyncio.run(admin())
else:
    asyncio.run(consume(int(rest[0]), rest[1] if verb == "group" else None))
