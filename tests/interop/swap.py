"""One data directory and one server.properties, with Apache Kafka and this project's broker in turn, as `ottla serve --config` lets one do."""
import hashlib, itertools, json, os, signal, subprocess
from __main__ import HERE, connects, free_port, sh, wait_for  # of ./run

# How the broker that is there goes: do clients work meanwhile, and with which signal. In four rounds each happens to both brokers.
ENDS = [(False, signal.SIGTERM), (False, signal.SIGKILL), (True, signal.SIGKILL), (True, signal.SIGKILL),
        (False, signal.SIGKILL), (False, signal.SIGTERM), (True, signal.SIGTERM), (True, signal.SIGTERM)]
SETTINGS = ["offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3", "share.coordinator.state.topic.num.partitions=3",
            "metadata.log.max.record.bytes.between.snapshots=4000", "log.cleaner.backoff.ms=500", "log.initial.task.delay.ms=500",
            "transaction.partition.verification.enable=true"]


class Node:
    """The directory, and whichever broker runs on it."""

    def __init__(self, suite, name):
        suite.need_java()
        self.suite, self.kafka, self.port, self.process = suite, os.path.join(HERE, "kafka"), free_port(), None
        self.dir = os.path.join(suite.work, name)
        self.log_path = os.path.join(suite.work, f"{name}.log")
        self.settings = [f"log.dirs={self.dir}/data,{self.dir}/more", *SETTINGS]
        self.bootstrap = f"localhost:{self.port}"

    def start(self, kind):
        log = open(self.log_path, "ab")
        log.write(f"---- {kind}\n".encode())
        log.flush()
        words = [self.kafka, "broker", self.dir, str(self.port), *self.settings]
        if kind == "ottla":
            sh(self.kafka, "properties", self.dir, str(self.port), *self.settings)
            words = [self.suite.tool("ottla"), "serve", "--config", os.path.join(self.dir, "server.properties")]
        self.process = subprocess.Popen(words, stdout=log, stderr=log)
        self.suite.processes.append(self.process)
        wait_for(lambda: connects(self.port) or self.process.poll() is not None, f"{kind} to start", 120)
        assert self.process.poll() is None, f"{kind} does not start\n" + open(self.log_path, errors="replace").read()[-1500:]

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
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
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


def swap(suite):
    def view(node, name):
        """The lines of clients/swap_view.py."""
        path = os.path.join(suite.work, f"view-{name}.jsonl")
        sh(suite.python(), os.path.join(HERE, "clients/swap_view.py"), node.bootstrap, path, timeout=120)
        with open(path) as lines:
            return lines.readlines()

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

    def body(first, rounds):
        node, kinds = Node(suite, f"swap-{first}-first"), itertools.cycle(["apache", "ottla"] if first == "apache" else ["ottla", "apache"])
        now = next(kinds)
        node.start(now)
        load, seen, records = Load(suite, node), 0, 0
        for number in range(2 * rounds):
            busy, with_signal = ENDS[number % len(ENDS)]
            load.go_on(8)
            what = f"swap {number + 1}, {now} ended by {with_signal.name}{' at work' if busy else ''}"
            if not busy:
                load.say("pause")
                before = view(node, f"{first}-before")
            node.stop(with_signal)
            now = next(kinds)
            node.start(now)
            if busy:
                load.go_on(4)
                load.say("pause")
            after = view(node, f"{first}-after")
            if not busy:
                same(before, after, f"{what}, then {now}")
            records = complete(after)
            assert records >= seen, f"{what}: {records} records, {seen} before"
            seen = records
            print(f"        {what}: {digest(after)} over {len(after)} lines", flush=True)
        load.say("end")
        node.stop(signal.SIGTERM)
        # Of a topic that was deleted just before a kill there may be some; of the others, and of those without records, none.
        strays = [name for folder in ("data", "more") for name in os.listdir(os.path.join(node.dir, folder))
                  if name.endswith("-stray") and not name.startswith("made-")]
        assert not strays, f"set aside: {strays}"

    suite.test(f"swap-{suite.rounds}-rounds", lambda: body("apache", suite.rounds))
