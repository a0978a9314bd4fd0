"""Real faults on real files: kill -9 again and again under load, a disk that fills up and is freed again, a disk that turns read-only, damaged files
that Apache's broker and ours recover, two brokers for one directory, a clock that jumps. What mounts needs root and says aloud that it is skipped otherwise;
every mount is in a namespace of its own and goes with it."""
import glob, itertools, json, os, random, re, shutil, signal, subprocess, threading, urllib.request

from __main__ import HERE, Apache, Ottla, OttlaTools, Skip, connects, free_port, sh, wait_for  # of ./run
from swap import Load, Node, SETTINGS, Viewer, complete, same

CLUSTER_METADATA = "__cluster_metadata-0"


class Disk:
    """A file system in a mount namespace of its own, and what runs there."""

    def __init__(self, suite, name, mount):
        if os.geteuid() != 0:
            raise Skip("mounting a file system needs root")
        suite.need("unshare", "nsenter")
        self.suite, self.path = suite, os.path.join(suite.work, name)
        os.makedirs(self.path)
        script = f"{mount} && echo mounted && exec sleep 3600"
        self.holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], cwd=suite.work,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        suite.processes.append(self.holder)
        if self.holder.stdout.readline() != "mounted\n":
            raise Skip(f"no file system can be mounted: {self.holder.communicate()[1].strip()}")

    @classmethod
    def in_memory(cls, suite, name, size):
        return cls(suite, name, f"mount -t tmpfs -o size={size} tmpfs {suite.work}/{name}")

    @classmethod
    def in_a_file(cls, suite, name):
        """An ext4 that turns read-only at the first error, and an error can be had (`break_it`)."""
        suite.need("mkfs.ext4", "losetup")
        image = f"{suite.work}/{name}.img"
        sh("truncate", "-s", "64M", image)
        sh("mkfs.ext4", "-q", image)
        return cls(suite, name, f"mount -o loop,errors=remount-ro {image} {suite.work}/{name}")

    def inside(self, *words):
        return ["nsenter", "--target", str(self.holder.pid), "--mount", "--", *words]

    def run(self, script):
        return sh(*self.inside("sh", "-c", script))

    def fill(self):
        self.run(f"cat /dev/zero > {self.path}/filler 2>/dev/null || true")

    def free(self):
        self.run(f"rm {self.path}/filler")

    def break_it(self):
        """The file system finds itself broken and takes no more writes, as after an error of the disk."""
        device = self.run(f"findmnt -no SOURCE {self.path}").strip().removeprefix("/dev/")
        trigger = f"/sys/fs/ext4/{device}/trigger_fs_error"
        if not os.path.exists(trigger):
            raise Skip("this kernel has no trigger_fs_error")
        self.run(f"echo 1 > {trigger}")

    def mend(self):
        self.run(f"umount {self.path} && (e2fsck -fy {self.path}.img > /dev/null || true) && mount -o loop,errors=remount-ro {self.path}.img {self.path}")


class Broker(Ottla):
    """Our broker with a second log directory on a disk of its own. `metadata_there`: and its metadata with it."""

    def __init__(self, suite, name, disk, *overrides, metadata_there=False):
        self.disk, self.metrics = disk, free_port()
        self.dirs = [os.path.join(suite.work, name, "data"), os.path.join(disk.path, "data")]
        settings = [f"log.dirs={','.join(self.dirs)}", f"metadata.log.dir={self.dirs[metadata_there]}", f"metrics.listener=localhost:{self.metrics}"]
        os.makedirs(os.path.dirname(self.dirs[0]), exist_ok=True)
        super().__init__(suite, name, *settings, *overrides)

    def words(self):
        return self.disk.inside(*super().words())

    def ask(self, *words):
        """What clients/faults_client.py says."""
        verb, *rest = words
        return sh(self.suite.python(), os.path.join(HERE, "clients/faults_client.py"), verb, self.bootstrap, *rest, timeout=120).splitlines()

    def expect(self, wanted, *words):
        """That clients/faults_client.py says these lines, in any order."""
        found = self.ask(*words)
        assert set(found) == set(wanted), f"{' '.join(words)}: {found}, not {sorted(wanted)}"

    def expect_all(self, topic, partitions):
        self.expect({f"{partition} ok" for partition in range(partitions)}, "probe", topic)

    def on_disk(self, topic):
        """The partitions of a topic that lie on the disk."""
        names = self.disk.run(f"ls {self.dirs[1]}").split()
        return {name.rsplit("-", 1)[1] for name in names if name.rsplit("-", 1)[0] == topic}

    def metric(self, name):
        with urllib.request.urlopen(f"http://localhost:{self.metrics}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def said(self):
        with open(self.dir + ".log") as log:
            return log.read()


def nothing_to_lose(broker, *before):
    """`ottla check` finds nothing in a directory that a repair would cost a record; `before` are words to run it with."""
    for folder in getattr(broker, "dirs", [broker.dir]):
        words = [*before, broker.suite.tool("ottla"), "check", folder, "--output", "json"]
        found = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)["findings"]
        assert not [finding for finding in found if finding["lost"]], found


def kill_loop(suite):
    """The clients of the swap tests work on; again and again the broker is killed under them, every other time while they rest."""
    def body(name, *settings):
        broker = Ottla(suite, name, *SETTINGS, *settings)
        load, viewer = Load(suite, broker), Viewer(suite, broker)
        for number in range(suite.kills):
            load.go_on(4)
            rests = number % 2 == 1
            if rests:
                load.say("pause")
                before = viewer.lines("now")
            broker.stop(signal.SIGKILL)
            broker.start()
            if rests:
                same(before, viewer.lines("now"), f"kill {number + 1}")
        load.go_on(4)
        rounds = load.say("pause")
        records = complete(viewer.lines("now"))
        assert records == 30 * rounds, f"{records} records, {30 * rounds} acknowledged"
        load.say("end")
        broker.stop()
        nothing_to_lose(broker)
    suite.test(f"kill-9-loop-{suite.kills}", lambda: body("kill-loop"))
    suite.test(f"kill-9-loop-{suite.kills}-flushed", lambda: body("kill-loop-flushed", "log.flush.interval.messages=1"))


def kill_our_producer(suite):
    """Our own producer in the middle of its work each time."""
    def body():
        broker, topic, failed = Ottla(suite, "kill-producer"), "killed", []
        suite.create(broker, topic)

        def produce():
            try:
                suite.client(OttlaTools).produce(broker.bootstrap, topic, "lz4", suite.flights())
            except AssertionError as error:
                failed.append(error)

        written = lambda: sum(os.path.getsize(path) for path in glob.glob(os.path.join(glob.escape(broker.dir), f"{topic}-[0-9]", "*.log")))
        suite.flights()
        worker, kills = threading.Thread(target=produce), 0
        worker.start()
        while worker.is_alive() and kills < suite.kills:
            before = written()
            wait_for(lambda: written() > before + 200_000 or not worker.is_alive(), "records")
            if worker.is_alive():
                broker.stop(signal.SIGKILL)
                broker.start()
                kills += 1
        worker.join()
        assert not failed, failed
        assert kills >= 2, f"the producer was done after {kills} kills"
        suite.consumed(suite.client(OttlaTools), broker, topic)
        broker.stop()
    suite.test("kill-9-loop-ottla-producer", body)


def full_disk(suite):
    """One directory of two fills up: what lies there is refused and can be read, what lies elsewhere goes on; then there is space, and all goes on."""
    def body():
        disk = Disk.in_memory(suite, "small", "24m")
        broker = Broker(suite, "full-disk", disk, *SETTINGS, "log.segment.bytes=1048576")
        load, viewer = Load(suite, broker), Viewer(suite, broker)
        broker.expect({"ok"}, "create", "probed", "4")
        load.go_on(4)
        there = broker.on_disk("probed")
        assert len(there) == 2, there
        for number in range(2):
            broker.expect_all("probed", 4)
            disk.fill()
            refused = {line for line in broker.ask("probe", "probed") if not line.endswith(" ok")}
            assert refused == {f"{partition} KAFKA_STORAGE_ERROR" for partition in there}, refused
            broker.expect({f"{p} {number + 1 if str(p) in there else 2 * number + 2}" for p in range(4)}, "count", "probed")
            assert broker.metric("kafka_log_logmanager_offlinelogdirectorycount") == 0
            # A topic that comes now gets its logs when there is space for them.
            broker.expect({"ok"}, "create", f"late-{number}", "4")
            disk.free()
            load.go_on(3)
            wait_for(lambda: set(broker.ask("probe", f"late-{number}")) == {f"{p} ok" for p in range(4)}, "the logs of the late topic")
        # Killed while the disk is full: what it said is there when there is space to start.
        disk.fill()
        broker.ask("probe", "probed")
        broker.stop(signal.SIGKILL)
        disk.free()
        broker.start()
        load.go_on(3)
        rounds = load.say("pause")
        before = viewer.lines("now")
        records = complete(before)
        assert records == 30 * rounds, f"{records} records, {30 * rounds} acknowledged"
        load.say("end")
        broker.stop()
        nothing_to_lose(broker, *disk.inside())
        broker.start()
        same(before, viewer.lines("now"), "after a clean end")
        broker.stop()

    def metadata():
        disk = Disk.in_memory(suite, "small-metadata", "24m")
        broker = Broker(suite, "full-metadata", disk, metadata_there=True)
        broker.expect({"ok"}, "create", "before", "2")
        disk.fill()
        answers = {tuple(broker.ask("create", f"full-{number}-{'x' * 200}", "200")) for number in range(3)}
        assert ("KAFKA_STORAGE_ERROR",) in answers, answers
        elsewhere = next(str(p) for p in range(2) if str(p) not in broker.on_disk("before"))
        assert f"{elsewhere} ok" in broker.ask("probe", "before")
        assert broker.process.poll() is None
        disk.free()
        broker.expect({"ok"}, "create", "after", "2")
        broker.stop(signal.SIGKILL)
        broker.start()
        broker.expect_all("after", 2)
        broker.stop()
    suite.test("full-disk", body)
    suite.test("full-metadata-disk", metadata)


def read_only_disk(suite):
    """A directory's file system turns read-only: it is offline and told of, the other serves on; mended, all is there. With the metadata the broker ends."""
    def body():
        disk = Disk.in_a_file(suite, "broken")
        # What is not synced a broken disk may keep to itself.
        broker = Broker(suite, "read-only", disk, "log.flush.interval.messages=1")
        broker.expect({"ok"}, "create", "probed", "4")
        broker.expect_all("probed", 4)
        there = broker.on_disk("probed")
        here = set("0123") - there
        disk.break_it()
        answers = set(broker.ask("probe", "probed"))
        assert {f"{partition} ok" for partition in here} <= answers and not any(f"{partition} ok" in answers for partition in there), answers
        wait_for(lambda: broker.metric("kafka_log_logmanager_offlinelogdirectorycount") == 1, "the metric")
        broker.expect({f"{broker.dirs[0]} 0", f"{broker.dirs[1]} 56"}, "dirs")
        wait_for(lambda: all(f"Partition: {partition}\t" in sh(suite.tool("kafka-topics"), "--bootstrap-server", broker.bootstrap, "--describe",
                                                               "--topic", "probed", "--unavailable-partitions") for partition in there), "leaderless partitions")
        broker.expect({"ok"}, "create", "new", "2")
        broker.expect_all("new", 2)
        assert set(broker.ask("probe", "probed")) >= {f"{partition} ok" for partition in here}
        broker.stop()
        assert broker.process.returncode == 0, broker.said()[-1500:]
        disk.mend()
        broker.start()
        wait_for(lambda: set(broker.ask("probe", "probed")) == {f"{p} ok" for p in range(4)}, "all partitions")
        broker.expect({f"{partition} {2 if str(partition) in there else 4}" for partition in range(4)}, "count", "probed")
        assert broker.metric("kafka_log_logmanager_offlinelogdirectorycount") == 0
        broker.stop()

    def metadata():
        disk = Disk.in_a_file(suite, "broken-metadata")
        broker = Broker(suite, "read-only-metadata", disk, metadata_there=True)
        broker.expect({"ok"}, "create", "before", "2")
        disk.break_it()
        broker.ask("create", "never", "1")
        broker.process.wait(60)
        last = broker.said().splitlines()[-1]
        assert broker.process.returncode == 1 and disk.path in last, (broker.process.returncode, last)
        disk.mend()
        broker.start()
        broker.expect_all("before", 2)
        broker.stop()
    suite.test("read-only-disk", body)
    suite.test("read-only-metadata-disk", metadata)


def damaged_files(suite):
    """One directory, left by our broker under kill -9, a partition damaged in each of many ways; Apache's broker and ours recover copies of it to the same
    ends and the same records."""
    def body():
        suite.need_java()
        port, base = free_port(), os.path.join(suite.work, "damaged")
        kafka, source = os.path.join(HERE, "kafka"), os.path.join(suite.work, "some-damaged.tsv")
        with open(suite.flights(), "rb") as lines, open(source, "wb") as out:
            out.writelines(itertools.islice(lines, 8_000))

        def ours(folder, with_signal):
            sh(kafka, "properties", folder, str(port))
            log = open(folder + ".log", "ab")
            process = subprocess.Popen([suite.tool("ottla"), "serve", "--config", f"{folder}/server.properties"], stdout=log, stderr=log)
            suite.processes.append(process)
            wait_for(lambda: connects(port) or process.poll() is not None, "our broker")
            assert process.poll() is None, open(folder + ".log").read()[-1500:]

            def stop():
                process.send_signal(with_signal)
                process.wait(60)
            return stop

        class At:
            bootstrap = f"localhost:{port}"

        stop = ours(base, signal.SIGKILL)
        sh(suite.tool("kafka-topics"), "--bootstrap-server", At.bootstrap, "--create", "--topic", "damaged", "--partitions", "10")
        suite.client(OttlaTools).produce(At.bootstrap, "damaged", "none", source)
        stop()

        def each(partition, name):
            return os.path.join(base, "data", f"damaged-{partition}", name)

        chance, first = random.Random(7), "0" * 20
        logs = {partition: each(partition, first + ".log") for partition in range(10)}
        filled = [partition for partition, log in logs.items() if os.path.exists(log) and os.path.getsize(log) > 2000]
        assert len(filled) >= 8, filled

        def torn(log):
            os.truncate(log, chance.randrange(100, os.path.getsize(log)))

        def zeroed(log):
            position = chance.randrange(100, os.path.getsize(log))
            with open(log, "r+b") as file:
                file.seek(position)
                file.write(bytes(os.path.getsize(log) - position))

        def flipped(log):
            position = chance.randrange(100, os.path.getsize(log))
            with open(log, "r+b") as file:
                file.seek(position)
                byte = file.read(1)[0]
                file.seek(position)
                file.write(bytes([byte ^ 4]))

        def grown(log):
            with open(log, "ab") as file:
                file.write(bytes(5000))

        def without(suffix):
            return lambda log: os.remove(log.removesuffix(".log") + suffix)

        def emptied(suffix):
            return lambda log: os.truncate(log.removesuffix(".log") + suffix, 0)

        ways = [torn, zeroed, flipped, grown, without(".index"), without(".timeindex"), emptied(".index"), lambda log: os.truncate(log, 0)]
        for partition, way in zip(filled, ways):
            way(logs[partition])
        for name in ("recovery-point-offset-checkpoint", "replication-offset-checkpoint"):
            if os.path.exists(f"{base}/data/{name}"):
                os.remove(f"{base}/data/{name}")
        copy = os.path.join(suite.work, "damaged-apache", "data")
        shutil.copytree(f"{base}/data", copy)

        def seen():
            ends = sorted(sh(kafka, "get-offsets", "--bootstrap-server", At.bootstrap, "--topic", "damaged").split())
            records = sh(suite.tool("kafka-console-consumer"), "--bootstrap-server", At.bootstrap, "--topic", "damaged", "--from-beginning", "--exit-at-end",
                         "--formatter-property", "print.key=true", "--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true")
            return ends, sorted(records.splitlines())

        stop = ours(base, signal.SIGTERM)
        found = seen()
        stop()
        apache = Apache(suite, "damaged-apache", port=port)
        expected = seen()
        apache.stop()
        assert found[0] == expected[0], f"ends\n{found[0]}\n{expected[0]} of Apache's"
        assert found[1] == expected[1], "records differ"
        assert 2_000 < len(found[1]) < 8_000, len(found[1])
    suite.test("damaged-files-as-apache", body)


def two_brokers(suite):
    """Whoever comes second to a directory, ours or Apache's, broker or tool, goes with one line and touches nothing."""
    def contents(folder):
        found = {}
        for place, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    found[path] = file.read()
        return found

    def body(holder):
        suite.need_java()
        base = os.path.join(suite.work, f"held-by-{holder}")
        kafka, node = os.path.join(HERE, "kafka"), Node(suite, f"held-by-{holder}")
        node.start(holder)
        sh(suite.tool("kafka-topics"), "--bootstrap-server", node.bootstrap, "--create", "--topic", "t", "--partitions", "2")
        port, folders = free_port(), [f"{base}/data", f"{base}/more"]
        # A configuration for a second broker there, which has a port of its own.
        second, alone = os.path.join(suite.work, f"second-{holder}.properties"), os.path.join(suite.work, f"alone-{holder}.properties")
        for path, dirs in ((second, folders), (alone, folders[1:])):
            with open(f"{base}/server.properties") as lines, open(path, "w") as out:
                # What authorizes is a matter of its own.
                text = "".join(line for line in lines if not line.startswith("authorizer"))
                text = text.replace(str(node.port), str(port)).replace(str(node.port + 1), str(port + 1))
                out.write(text + f"\nlog.dirs={','.join(dirs)}\nmetadata.log.dir={dirs[0]}\n")
        cluster = re.search("cluster.id=(.*)", open(f"{folders[0]}/meta.properties").read())[1]
        sh(suite.python(), os.path.join(HERE, "clients/faults_client.py"), "probe", node.bootstrap, "t")
        # While nothing happens a node writes heartbeats and checkpoints.
        before = contents(base)
        ottla = suite.tool("ottla")
        seconds = [([ottla, "serve", "--config", second], "another process is using"),
                   ([ottla, "serve", "--config", alone], "another process is using"),
                   ([ottla, "check", "--repair", folders[0]], "is in use"),
                   ([suite.tool("kafka-storage"), "format", "--standalone", "-t", cluster, "-c", second], "already formatted")]
        if holder == "ottla":
            seconds.append(([kafka, "serve", second], "Failed to acquire lock"))
        for words, says in seconds:
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, "KAFKA_LOG": "off"})
            assert done.returncode == 1 and says in done.stdout + done.stderr, (words, done.returncode, done.stdout[-500:], done.stderr[-500:])
            if words[0] != kafka:
                assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        ends = {path: (len(content), len(before.get(path, b""))) for path, content in contents(base).items()
                if content != before.get(path) and "checkpoint" not in path and CLUSTER_METADATA not in path}
        assert not ends, ends
        node.stop(signal.SIGTERM)
    for holder in ("ottla", "apache"):
        suite.test(f"two-brokers-one-directory-{holder}-first", lambda: body(holder))


def clock_jumps(suite):
    """The wall clock is set forward and back by hours under load: nobody's session, transaction or offset ends for that, and nothing hangs."""
    def body():
        library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
        if not library:
            if not shutil.which("apt-get") or os.geteuid():
                raise Skip("libfaketime is not installed")
            sh("apt-get", "update", "-q")
            sh("apt-get", "install", "-y", "-q", "faketime")
            library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0]
        clock = os.path.join(suite.work, "clock-time")

        def set_clock(text):
            with open(clock + ".new", "w") as out:
                out.write(text)
            os.rename(clock + ".new", clock)

        class Jumping(Ottla):
            def words(self):
                environment = [f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={clock}", "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
                return ["env", *environment, *super().words()]

        set_clock("+0")
        # The clients' clocks stay, and what they stamp may lie hours ahead.
        broker = Jumping(suite, "clock", *SETTINGS, "log.message.timestamp.after.max.ms=9223372036854775807", "log.flush.interval.ms=1000")
        load, viewer = Load(suite, broker), Viewer(suite, broker)
        for jump in ("+6h", "-6h", "+20h", "+0"):
            load.go_on(4)
            set_clock(jump)
        load.go_on(6)
        rounds = load.say("pause")
        before = viewer.lines("now")
        records = complete(before)
        assert records == 30 * rounds, f"{records} records, {30 * rounds} acknowledged"
        said = open(broker.dir + ".log").read()
        assert not re.search("timed out|session expired", said), re.findall(".*(?:timed out|session expired).*", said)[:3]
        set_clock("-10h")
        broker.stop(signal.SIGKILL)
        broker.start()
        same(before, viewer.lines("now"), "started ten hours ago")
        load.say("end")
        broker.stop()
    suite.test("clock-jumps", body)


def faults(suite):
    kill_loop(suite)
    kill_our_producer(suite)
    full_disk(suite)
    read_only_disk(suite)
    damaged_files(suite)
    two_brokers(suite)
    clock_jumps(suite)
