"""Share groups by Apache Kafka's own tools: several console-share-consumers, one killed, our broker killed and started again, Apache's
broker on our directory and ours on it again; afterwards the group's offsets are set and deleted, and Apache's dump-log reads the records."""
import collections, glob, os, signal, subprocess, time

from __main__ import HERE, Apache, Ottla, sh, wait_for  # of ./run

ROWS = 20_000
KAFKA = os.path.join(HERE, "kafka")
GROUP = "shared"


class Consumer:
    """A console-share-consumer that accepts what it prints, until it is stopped or has nothing for a while."""

    def __init__(self, suite, broker, name, *options):
        self.path = os.path.join(suite.work, f"{name}.out")
        self.process = subprocess.Popen([KAFKA, "console-share-consumer", "--bootstrap-server", broker.bootstrap, "--topic", "t", "--group", GROUP, *options],
                                        stdout=open(self.path, "wb"), stderr=open(self.path + ".err", "wb"))
        suite.processes.append(self.process)

    def lines(self):
        with open(self.path, "rb") as lines:
            return lines.read().splitlines()

    def stop(self, with_signal=signal.SIGTERM):
        self.process.send_signal(with_signal)
        self.process.wait(120)


def share_groups_tool(broker, *options):
    return sh(KAFKA, "share-groups", "--bootstrap-server", broker.bootstrap, *options)


def lag(broker):
    """The lag of the group, or None when a partition's is not known."""
    text = share_groups_tool(broker, "--describe", "--group", GROUP)
    rows = [line.split() for line in text.splitlines() if line.startswith(GROUP)]
    lags = [row[-1] for row in rows]
    return None if not lags or "-" in lags else sum(map(int, lags))


def produce(suite, broker, first, last):
    path = os.path.join(suite.work, "rows")
    with open(path, "w") as out:
        out.writelines(f"row {n}\n" for n in range(first, last))
    with open(path, "rb") as lines:
        sh(suite.tool("kafka-console-producer"), "--bootstrap-server", broker.bootstrap, "--topic", "t", stdin=lines)


def seen(consumers):
    return collections.Counter(line for consumer in consumers for line in consumer.lines())


def share_groups(suite):
    def body():
        suite.need_java()
        # Where Apache's broker of this name has its data.
        os.makedirs(os.path.join(suite.work, "share"), exist_ok=True)
        broker = Ottla(suite, "share/data")
        suite.create(broker, "t")
        sh(KAFKA, "configs", "--bootstrap-server", broker.bootstrap, "--alter", "--entity-type", "groups", "--entity-name", GROUP,
           "--add-config", "share.auto.offset.reset=earliest")
        produce(suite, broker, 0, ROWS)
        consumers = [Consumer(suite, broker, f"share-{n}") for n in range(3)]
        wait_for(lambda: sum(len(c.lines()) for c in consumers) > 500, "records at the share consumers", 180)
        consumers[0].stop(signal.SIGKILL)
        broker.stop(signal.SIGKILL)
        broker.start()
        produce(suite, broker, ROWS, 2 * ROWS)
        expected = {b"row %d" % n for n in range(2 * ROWS)}
        wait_for(lambda: set(seen(consumers)) >= expected, "every record at some consumer", 300)
        for consumer in consumers[1:]:
            consumer.stop()
        wait_for(lambda: lag(broker) == 0, "a lag of 0", 120)
        counts = seen(consumers)
        assert set(counts) == expected, "records that nobody produced"
        twice = sum(count > 1 for count in counts.values())
        # What was on its way when the consumer and the broker were killed, at most what may be in flight.
        assert twice <= 4 * 2000 * 2, f"{twice} records came more than once"
        assert GROUP in share_groups_tool(broker, "--list")
        state = share_groups_tool(broker, "--describe", "--group", GROUP, "--state")
        assert "Empty" in state, state
        broker.stop()

        # Apache Kafka on our directory: nothing comes again, and what is new comes once.
        apache = Apache(suite, "share")
        produce(suite, apache, 2 * ROWS, 2 * ROWS + 100)
        reader = Consumer(suite, apache, "share-apache", "--max-messages", "100", "--timeout-ms", "120000")
        reader.process.wait(240)
        assert seen([reader]) == {b"row %d" % n: 1 for n in range(2 * ROWS, 2 * ROWS + 100)}, "other records at Apache's broker"
        wait_for(lambda: lag(apache) == 0, "a lag of 0 at Apache's broker", 120)
        apache.process.terminate()
        apache.process.wait(60)

        # And back.
        broker.start()
        assert lag(broker) == 0
        produce(suite, broker, 2 * ROWS + 100, 2 * ROWS + 200)
        reader = Consumer(suite, broker, "share-back", "--max-messages", "100", "--timeout-ms", "120000")
        reader.process.wait(240)
        assert seen([reader]) == {b"row %d" % n: 1 for n in range(2 * ROWS + 100, 2 * ROWS + 200)}, "other records after Apache's broker"

        def is_empty():
            return "Empty" in share_groups_tool(broker, "--describe", "--group", GROUP, "--state")
        wait_for(is_empty, "the group to be empty", 120)
        reset = share_groups_tool(broker, "--reset-offsets", "--group", GROUP, "--topic", "t", "--to-earliest", "--execute")
        assert "t" in reset, reset
        assert lag(broker) == 2 * ROWS + 200, f"lag {lag(broker)} after a reset"
        rejecting = Consumer(suite, broker, "share-reject", "--reject", "--max-messages", "200", "--timeout-ms", "120000")
        rejecting.process.wait(240)
        wait_for(is_empty, "the group to be empty", 120)
        deleted = share_groups_tool(broker, "--delete-offsets", "--group", GROUP, "--topic", "t")
        assert "uccess" in deleted, deleted
        deleted = share_groups_tool(broker, "--delete", "--group", GROUP)
        assert "success" in deleted, deleted
        assert GROUP not in share_groups_tool(broker, "--list")
        broker.stop()

        # Every record of the state is one that Apache's decoder reads.
        read = 0
        for path in glob.glob(os.path.join(broker.dir, "__share_group_state-*", "*.log")):
            if os.path.getsize(path):
                text = sh(KAFKA, "dump-log", "--share-group-state-decoder", "--files", path)
                assert "Exception" not in text and "UNKNOWN" not in text, text[-1500:]
                read += text.count('"startOffset"')
        assert read > 10, f"{read} records of share group states"
    suite.test("share-groups-by-apaches-tools", body)
