"""What runs on a broker while it is swapped for another: `swap_load.py BOOTSTRAP`. It reads words from standard input and answers each with a line:
`go` goes on (`going`), `pause` stops when everything is acknowledged (`paused N`, N counts the rounds made), `end` ends (`ended`). The same clients run
from the beginning to the end, whatever brokers come and go: an idempotent producer, two transactional ones, one of which leaves its transaction open,
members of classic groups (one of them static), of a group in the consumer protocol, of a share group and of a streams group, and an administrator. `dangle` begins a
transaction with a short timeout that nobody will ever end."""
import faulthandler, sys, threading, time

from confluent_kafka import AcknowledgeType, Consumer, KafkaError, KafkaException, Producer, ShareConsumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from kafka.errors import KafkaError as KafkaPythonError

from swap_state import Cluster, StreamsMember

bootstrap = sys.argv[1]
faulthandler.enable()  # SIGABRT says where it hangs
# When librdkafka forgets its brokers to begin anew, what waits for a group's coordinator waits for ever.
common = {"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500, "log_level": 0,
          "metadata.recovery.strategy": "none"}
running, idle, ending = threading.Event(), threading.Event(), threading.Event()
failures, rounds = [], 0
admin = AdminClient(common)


def insist(call, *fine):
    """Until it is done, whatever broker does it; `fine` are errors that say that it is done already."""
    end = time.time() + 120
    while True:
        try:
            return call()
        except KafkaException as error:
            code = error.args[0]
            if code.code() in fine:
                return None
            if isinstance(code, KafkaError) and (code.txn_requires_abort() or code.fatal()) or time.time() > end:
                raise
            time.sleep(0.1)


def create(name, partitions, config):
    insist(lambda: admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(), KafkaError.TOPIC_ALREADY_EXISTS)


def delete(name):
    insist(lambda: admin.delete_topics([name])[name].result(), KafkaError.UNKNOWN_TOPIC_OR_PART)


def alter(name, key, value):
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    insist(lambda: admin.incremental_alter_configs([resource])[resource].result())


def transact(producer, topic, first, abort):
    """Three records in a transaction. One that a broker's end has broken is aborted and made again."""
    while True:
        try:
            producer.begin_transaction()
            for number in range(first, first + 3):
                producer.produce(topic, b"%d" % number, b"aborted" if abort else b"committed", partition=number % 2)
            # What waits when a transaction is aborted would never be written.
            producer.flush(60) if abort else producer.send_offsets_to_transaction([TopicPartition("plain", 0, first)], consumer_metadata)
            insist(producer.abort_transaction if abort else producer.commit_transaction)
            return
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            insist(producer.abort_transaction)


create("plain", 3, {"segment.bytes": "1048576"})
create("transactions", 2, {})
create("open", 1, {})
create("compacted", 2, {"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "86400000"})
create("empty", 5, {"retention.ms": "777000"})
create("shared", 2, {})
create("stamped", 1, {"message.timestamp.type": "LogAppendTime"})
create("cut", 2, {})
create("dangling", 1, {})
cluster = Cluster(bootstrap)
cluster.furnish("share.version" in cluster.features())
plain = Producer({**common, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 300_000})
transactional = Producer({**common, "transactional.id": "swapped", "transaction.timeout.ms": 600_000})
left_open = Producer({**common, "transactional.id": "left-open", "transaction.timeout.ms": 600_000})
for producer in (transactional, left_open):
    insist(producer.init_transactions)
members = [Consumer({**common, "group.id": f"group-{protocol}", "auto.offset.reset": "earliest", "enable.auto.commit": False, "group.protocol": protocol})
           for protocol in ("classic", "consumer")]
members.append(Consumer({**common, "group.id": "group-static", "group.instance.id": "one", "auto.offset.reset": "earliest", "enable.auto.commit": False}))
sharer, streams, dangling = None, None, []
copier = Consumer({**common, "group.id": "copier"})
consumer_metadata = copier.consumer_group_metadata()
for member in members:
    member.subscribe(["plain"])
open_since = None


def share():
    """Of what a share group is given, some is accepted, some rejected and some given back."""
    global sharer
    if sharer is None and cluster.features().get("share.version", 0):
        sharer = ShareConsumer({**common, "group.id": "group-share", "share.acknowledgement.mode": "explicit"})
        sharer.subscribe(["shared"])
    if sharer is None:
        return
    for message in sharer.poll(0.05):
        if not message.error():
            n = int(message.value())
            sharer.acknowledge(message, AcknowledgeType.REJECT if n % 7 == 6 else AcknowledgeType.RELEASE if n % 3 == 1 else AcknowledgeType.ACCEPT)
    sharer.commit_sync(10)


def stream(number):
    global streams
    if streams is None and number % 4 == 0 and cluster.features().get("streams.version", 0):
        streams = StreamsMember(bootstrap)
    if streams is not None:
        streams.beat(number)


def rest():
    """What waits for nobody is acknowledged, and what a share group was given is given back."""
    global sharer
    assert plain.flush(120) == 0, "records are not acknowledged"
    if sharer is not None:
        sharer.close()
        sharer = None


def dangle():
    producer = Producer({**common, "transactional.id": f"dangling-{len(dangling)}", "transaction.timeout.ms": 2000})
    insist(producer.init_transactions)
    producer.begin_transaction()
    producer.produce("dangling", b"dangling")
    assert producer.flush(60) == 0
    dangling.append(producer)


def one_round(number):
    global open_since
    report = lambda error, _: failures.append(f"{error}") if error else None
    for n in range(number * 30, number * 30 + 30):
        plain.produce("plain", b"%d" % n, b"%d" % (n % 7), partition=n % 3, headers=[("n", b"%d" % n)], on_delivery=report)
        plain.produce("compacted", b"%d" % n, b"key %d" % (n % 40), partition=n % 2, on_delivery=report)
        plain.poll(0)
    for n in range(number * 10, number * 10 + 10):
        plain.produce("shared", b"%d" % n, partition=n % 2, on_delivery=report)
        plain.produce("stamped", b"%d" % n, timestamp=1_700_000_000_000 + n, on_delivery=report)
        plain.produce("cut", b"%d" % n, partition=n % 2, on_delivery=report)
    transact(transactional, "transactions", number * 3, number % 3 == 2)
    if open_since is None:
        left_open.begin_transaction()
        open_since = number
        left_open.produce("open", b"%d" % number, b"open", on_delivery=report)
        left_open.flush(60)
    elif number - open_since > 25:
        try:
            insist(left_open.commit_transaction if number % 2 else left_open.abort_transaction)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise
            insist(left_open.abort_transaction)
        open_since = None
    try:
        share()
    except (KafkaException, KafkaPythonError):
        pass  # What was not acknowledged comes again.
    stream(number)
    for member in members:
        if member.consume(100, 0.02) and member.assignment():
            try:
                member.commit(asynchronous=False)
            except KafkaException:
                pass  # The next round's will do.
    if number % 5 == 0:
        create(f"made-{number}", 1 + number % 3, {"max.message.bytes": str(100_000 + number)})
        delete(f"made-{number - 20}")
        alter("plain", "retention.ms", str(1_000_000_000 + number))
        insist(lambda: admin.delete_records([TopicPartition("cut", 1, number)])[TopicPartition("cut", 1)].result(), KafkaError.OFFSET_OUT_OF_RANGE)


def work():
    global rounds
    try:
        while not ending.is_set():
            if not running.wait(0.05):
                idle.set()
                continue
            idle.clear()
            one_round(rounds)
            rounds += 1
            if not running.is_set():
                rest()
    except BaseException as error:
        failures.append(repr(error))
    idle.set()


worker = threading.Thread(target=work, daemon=True)
worker.start()
for word in sys.stdin:
    word = word.strip()
    if word == "go":
        idle.clear()
        running.set()
        answer = f"going {rounds}"
    elif word == "rounds":
        answer = f"rounds {rounds}"
    elif word == "pause":
        running.clear()
        idle.wait(200)
        answer = f"paused {rounds}"
    elif word == "dangle":
        dangle()
        answer = "dangling"
    else:
        ending.set()
        worker.join(60)
        answer = "ended"
    print(f"failed {failures[:3]}" if failures else answer, flush=True)
    if word == "end":
        break
