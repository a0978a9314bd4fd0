"""One data directory and one server.properties, with Apache Kafka and this project's broker in turn, as `ottla serve --config` lets one do."""
import glob, hashlib, itertools, json, os, signal, subprocess, time
from __main__ import HERE, connects, free_port, sh, wait_for  # of ./run

# How the broker that is there goes: do clients work meanwhile, and with which signal. In four rounds each happens to both brokers.
ENDS = [(False, signal.SIGTERM), (False, signal.SIGKILL), (True, signal.SIGKILL), (True, signal.SIGKILL),
        (False, signal.SIGKILL), (False, signal.SIGTERM), (True, signal.SIGTERM), (True, signal.SIGTERM)]
SETTINGS = ["offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3", "share.coordinator.state.topic.num.partitions=3",
            "metadata.log.max.record.bytes.between.snapshots=4000", "metadata.log.segment.ms=3000", "metadata.max.retention.bytes=20000", "log.cleaner.backoff.ms=500", "log.initial.task.delay.ms=500",
            "transaction.partition.verification.enable=true", "log.flush.start.offset.checkpoint.interval.ms=500"]
# Access control lists are to outlive a broker that does not enforce them.
APACHES = ["authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"]
LATEST = "4.3"


class Node:
    """The directory, and whichever broker runs on it."""

    def __init__(self, suite, name):
        suite.need_java()
        self.suite, self.kafka, self.port, self.process = suite, os.path.join(HERE, "kafka"), free_port(), None
        self.dir = os.path.join(suite.work, name)
        self.log_path = os.path.join(suite.work, f"{name}.log")
        self.settings = [f"log.dirs={self.dir}/data,{self.dir}/more", *SETTINGS]
        self.bootstrap = f"localhost:{self.port}"

    def format(self, by, release):
        """As a release would begin a cluster, by the one or the other `kafka-storage`."""
        sh(self.kafka, "properties", self.dir, str(self.port), *self.settings)
        tool = [self.kafka, "storage"] if by == "apache" else [self.suite.tool("kafka-storage")]
        sh(*tool, "format", "--standalone", "-t", sh(*tool, "random-uuid").strip(), "-c", os.path.join(self.dir, "server.properties"),
           "--release-version", release)

    def start(self, kind):
        log = open(self.log_path, "ab")
        log.write(f"---- {kind}\n".encode())
        log.flush()
        words = [self.kafka, "broker", self.dir, str(self.port), *self.settings, *APACHES]
        if kind == "ottla":
            sh(self.kafka, "properties", self.dir, str(self.port), *self.settings)
            words = [self.suite.tool("ottla"), "serve", "--config", os.path.join(self.dir, "server.properties")]
        self.process = subprocess.Popen(words, stdout=log, stderr=log)
        self.suite.processes.append(self.process)
        wait_for(lambda: connects(self.port) or self.process.poll() is not None, f"{kind} to start", 120)
        assert self.process.poll() is None, f"{kind} does not start\n" + open(self.log_path, errors="replace").read()[-1500:]

    def oldest_snapshot(self):
        """Before it the metadata log begins."""
        return min(os.path.basename(path) for path in glob.glob(f"{self.dir}/data/__cluster_metadata-0/*.checkpoint"))

    def stop(self, with_signal):
        self.process.send_signal(with_signal)
        self.process.wait(120)


class Load:
    """clients/swap_load.py."""

    def __init__(self, suite, node):
        self.errors = open(os.path.join(suite.work, "swap-load.log"), "ab")
        words = [suite.python(), os.path.join(HERE, "clients/swap_load.py"), node.bootstrap]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        suite.processes.append(self.process)

    def say(self, word):
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # The answer is missing too.
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise AssertionError(f"the clients ended, exit {self.process.wait(60)}\n{open(self.errors.name).read()[-1500:]}")
        assert not answer.startswith("failed"), f"the clients failed: {answer}"
        return int(answer.split()[1]) if " " in answer else 0

    def go_on(self, rounds):
        """Until so many more rounds of work are done."""
        before = self.say("go")
        try:
            wait_for(lambda: self.say("rounds") >= before + rounds, f"{rounds} rounds of work", 120)
        except AssertionError as error:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"{error}\n{open(self.errors.name).read()[-1500:]}") from None


def digest(lines):
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def same(before, after, what):
    if before != after:
        missing, new = set(before) - set(after), set(after) - set(before)
        shown = [f"- {line[:300]}" for line in sorted(missing)[:8]] + [f"+ {line[:300]}" for line in sorted(new)[:8]]
        raise AssertionError(f"{what}: {digest(before)} before, {digest(after)} after\n" + "\n".join(shown))


def complete(lines):
    """What was acknowledged is there once and in order: the numbers, which go round the partitions."""
    numbers = {}
    for line in map(json.loads, lines):
        if line[:2] == ["read_committed", "plain"]:
            numbers.setdefault(line[2], []).append(int(line[6]))
    for partition, found in numbers.items():
        assert found == list(range(partition, partition + 3 * len(found), 3)), f"not each record once in partition {partition}"
    return sum(map(len, numbers.values()))


class Viewer:
    """clients/swap_view.py, and what it saw that can be compared over all brokers."""

    def __init__(self, suite, node):
        self.suite, self.node, self.acls, self.producer_ids = suite, node, None, set()

    def lines(self, name):
        path = os.path.join(self.suite.work, f"view-{os.path.basename(self.node.dir)}-{name}.jsonl")
        found = json.loads(sh(self.suite.python(), os.path.join(HERE, "clients/swap_view.py"), self.node.bootstrap, path, timeout=120))
        assert found["producer_id"] not in self.producer_ids, f"producer ID {found['producer_id']} a second time"
        self.producer_ids.add(found["producer_id"])
        if found["acls"] is not None:
            assert self.acls in (None, found["acls"]), f"access control lists: {self.acls} before, {found['acls']} now"
            self.acls = found["acls"]
        with open(path) as lines:
            return lines.readlines()


def swap(suite):
    def body(name, first, rounds, formatted_by=None, release=LATEST):
        node, kinds = Node(suite, name), itertools.cycle(["apache", "ottla"] if first == "apache" else ["ottla", "apache"])
        if formatted_by:
            node.format(formatted_by, release)
        now = next(kinds)
        node.start(now)
        load, viewer, records = Load(suite, node), Viewer(suite, node), 0
        for number in range(2 * rounds):
            busy, with_signal = ENDS[number % len(ENDS)]
            # Each broker looks once in a minute what its metadata log can do without.
            ages, oldest_snapshot = rounds >= 10 and number < 2, node.oldest_snapshot()
            load.go_on(8)
            for _ in range(14 if ages else 0):
                load.say("pause")
                time.sleep(5)
                load.go_on(1)
            if busy:
                load.say("dangle")
            assert not ages or node.oldest_snapshot() > oldest_snapshot, f"{now} does not clean its metadata log"
            what = f"swap {number + 1}, {now} ended by {with_signal.name}{' at work' if busy else ''}"
            if not busy:
                load.say("pause")
                before = viewer.lines("before")
            node.stop(with_signal)
            now = next(kinds)
            node.start(now)
            if busy:
                load.go_on(4)
                load.say("pause")
            after = viewer.lines("after")
            if not busy:
                same(before, after, f"{what}, then {now}")
            seen, records = records, complete(after)
            assert records >= seen, f"{what}: {records} records, {seen} before"
            print(f"        {what}: {digest(after)} over {len(after)} lines", flush=True)
            if number == 0 and release != LATEST:
                sh(node.kafka, "features", "--bootstrap-server", node.bootstrap, "upgrade", "--release-version", LATEST)
                print(f"        upgraded from {release} to {LATEST} on {now}", flush=True)
        load.say("end")
        node.stop(signal.SIGTERM)
        assert viewer.acls or first != "apache", "no access control lists were seen"
        # Of a topic that was deleted just before a kill there may be some; of the others, and of those without records, none.
        strays = [name for folder in ("data", "more") for name in os.listdir(os.path.join(node.dir, folder))
                  if name.endswith("-stray") and not name.startswith("made-")]
        assert not strays, f"set aside: {strays}"

    suite.test(f"swap-{suite.rounds}-rounds-{suite.first}-first", lambda: body("swap", suite.first, suite.rounds))
    if suite.rounds < 10:
        other = "ottla" if suite.first == "apache" else "apache"
        suite.test(f"swap-{other}-first", lambda: body(f"swap-{other}-first", other, 1))
    # Directories of older releases, by the one and the other; each is upgraded on the other broker.
    for release, first in itertools.product(("4.1", "4.2"), ("apache", "ottla")):
        name = f"swap-from-{first}-{release}"
        if suite.rounds >= 10 or name in ("swap-from-apache-4.1", "swap-from-ottla-4.2"):
            suite.test(name, lambda: body(name, first, 1, first, release))
