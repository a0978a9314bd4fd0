"""A damaged data directory: `ottla check` finds each damage where it is and says what will be lost, and `ottla check --repair`, a start of this
project's broker and a start of Apache Kafka make the same of copies of it."""
import glob, json, os, shutil, signal, struct, subprocess, time

from __main__ import HERE, sh  # of ./run
from swap import Load, Node

# A start is to do nothing but recovery.
STILL = ["log.cleaner.enable=false", "log.initial.task.delay.ms=600000", "log.roll.ms=600000000", "log.retention.check.interval.ms=6000000"]


def batches(content):
    """Of each whole batch: where it begins, its first and its last offset."""
    at = 0
    while at + 61 <= len(content):
        first, length = struct.unpack_from(">qi", content, at)
        if at + 12 + length > len(content) or length < 49:
            break
        yield at, first, first + struct.unpack_from(">i", content, at + 23)[0]
        at += 12 + length


class Partition:
    def __init__(self, node, name):
        (self.dir,) = glob.glob(f"{node.dir}/*/{name}")
        self.name = name

    def files(self, ending):
        return sorted(glob.glob(f"{self.dir}/*.{ending}"))

    def logs(self):
        """The content of each segment, by its first offset."""
        found = {}
        for path in self.files("log"):
            with open(path, "rb") as file:
                found[int(os.path.basename(path)[:20])] = file.read()
        return found

    def end(self):
        return max([0, *self.logs()] + [last + 1 for content in self.logs().values() for _, _, last in batches(content)])

    def epochs(self):
        if not os.path.exists(f"{self.dir}/leader-epoch-checkpoint"):
            return []
        with open(f"{self.dir}/leader-epoch-checkpoint") as lines:
            return [tuple(map(int, line.split())) for line in lines.read().splitlines()[2:]]


def change(path, how):
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(how(content))


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]


# Each kind of damage: changes files of the partition, and gives the file that is to be found, with its position and the first offset that is lost, if any.
def flipped_in_the_middle(partition):
    path = partition.files("log")[1]
    with open(path, "rb") as file:
        at, first, _ = list(batches(file.read()))[2]
    change(path, lambda content: flip(content, at + 65))
    return path, at, first


def torn(partition):
    path = next(path for path in reversed(partition.files("log")) if os.path.getsize(path))
    with open(path, "rb") as file:
        at, first, _ = list(batches(file.read()))[-1]
    change(path, lambda content: content[:-7])
    return path, at, first


def zeroes_behind(partition):
    path, end = partition.files("log")[-1], partition.end()
    size = os.path.getsize(path)
    change(path, lambda content: content + bytes(1000))
    return path, size, end


def zeroes_within(partition):
    path = next(path for path in reversed(partition.files("log")) if os.path.getsize(path))
    with open(path, "rb") as file:
        found = list(batches(file.read()))
    at, first, _ = found[len(found) // 2]
    change(path, lambda content: content[:at] + bytes(len(content) - at))
    return path, at, first


def length_of_a_batch(partition):
    path = next(path for path in reversed(partition.files("log")) if os.path.getsize(path))
    with open(path, "rb") as file:
        found = list(batches(file.read()))
    at, first, _ = found[len(found) // 2]
    change(path, lambda content: content[:at + 8] + struct.pack(">i", 1 << 30) + content[at + 12:])
    return path, at, first


def garbage_behind(partition):
    path, end = partition.files("log")[-1], partition.end()
    size = os.path.getsize(path)
    change(path, lambda content: content + bytes(range(1, 251)))
    return path, size, end


def no_indexes(partition):
    path = partition.files("index")[0]
    for ending in ("index", "timeindex"):
        os.remove(partition.files(ending)[0])
    return path, None, None


def wrong_entries(partition):
    path = next(path for path in partition.files("index") if os.path.getsize(path) >= 16)
    change(path, lambda content: flip(content, 11))
    return path, None, None


def torn_time_index(partition):
    path = next(path for path in partition.files("timeindex") if os.path.getsize(path) >= 12)
    change(path, lambda content: content[:-5])
    return path, None, None


def no_aborted_transactions(partition):
    for path in (found := [path for path in partition.files("txnindex") if os.path.getsize(path)]):
        os.remove(path)
    return found[0], None, None


def torn_aborted_transactions(partition):
    path = next(path for path in partition.files("txnindex") if os.path.getsize(path))
    change(path, lambda content: content[:-3])
    return path, None, None


def no_epochs(partition):
    path = f"{partition.dir}/leader-epoch-checkpoint"
    os.remove(path)
    return path, None, None


def bad_producer_snapshots(partition):
    for path in partition.files("snapshot"):
        change(path, lambda content: flip(content, 10))
    return path, None, None


def index_without_log(partition):
    path = f"{partition.dir}/{partition.end() + 1000:020}.index"
    with open(path, "wb") as file:
        file.write(bytes(8))
    return path, None, None


def left_overs(partition):
    for ending in ("log.deleted", "log.cleaned", "index.cleaned"):
        path = f"{partition.dir}/{0:020}.{ending}"
        with open(path, "wb") as file:
            file.write(b"left over")
    return path, None, None


# What Apache Kafka leaves for a minute, or for the next start.
LEFT = ["left over from a removal or a compaction"]
DAMAGES = {"plain-0": flipped_in_the_middle, "plain-1": torn, "plain-2": zeroes_behind, "transactions-0": no_aborted_transactions,
           "transactions-1": torn_aborted_transactions, "compacted-0": zeroes_within, "compacted-1": length_of_a_batch, "stamped-0": no_epochs,
           "cut-0": wrong_entries, "cut-1": torn_time_index, "shared-0": no_indexes, "shared-1": bad_producer_snapshots,
           "dangling-0": garbage_behind, "empty-0": index_without_log, "empty-1": left_overs, "__cluster_metadata-0": zeroes_behind,
           "__consumer_offsets": torn, "__transaction_state": torn}


def first_written(node, name):
    """A name without a number: the first partition of the topic that has records."""
    if name[-1].isdigit():
        return name
    logs = sorted(path for path in glob.glob(f"{node.dir}/*/{name}-*/*.log") if os.path.getsize(path))
    return os.path.basename(os.path.dirname(logs[0]))


def directory_damage(suite):
    def copy(base, name):
        node = Node(suite, name)
        node.port, node.bootstrap, node.settings = base.port, base.bootstrap, [f"log.dirs={node.dir}/data,{node.dir}/more", *base.settings[1:]]
        shutil.copytree(base.dir, node.dir, symlinks=True)
        return node

    def check(node, *words):
        done = subprocess.run([suite.tool("ottla"), "check", "--output", "json", *words, f"{node.dir}/data", f"{node.dir}/more"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, text=True)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def body(writer):
        node = Node(suite, f"damage-{writer}")
        node.settings += ["log.index.interval.bytes=300", "log.roll.ms=4000", "log.roll.jitter.ms=0"]
        node.start(writer)
        load = Load(suite, node)
        end = time.time() + 15
        while time.time() < end:
            load.go_on(5)
            load.say("pause")
            time.sleep(0.3)
        load.go_on(5)
        load.say("dangle")
        load.say("pause")
        # Until the checkpoints know of the last deletion of records: or the log begins before its first epoch, for either broker.
        time.sleep(2)
        node.stop(signal.SIGKILL)
        load.process.kill()
        # Everything is to be recovered.
        for path in glob.glob(f"{node.dir}/*/recovery-point-offset-checkpoint"):
            os.remove(path)
        # What a kill leaves, a start puts right.
        whole = [it for it in check(node)["findings"] if not it["repair"]]
        assert not whole, f"before any damage: {whole}"
        damages = {first_written(node, name): damage for name, damage in DAMAGES.items()}
        done = {name: (partition := Partition(node, name), damage(partition)) for name, damage in damages.items()}
        damaged = check(node)
        for name, (partition, (path, position, first)) in done.items():
            found = [it for it in damaged["findings"] if it["file"] == path and (position is None or it["position"] == position)]
            assert found, f"{name}: nothing is found in {path}:{position} of {[it for it in damaged['findings'] if name in it['file']]}"
            lost = found[0]["lost"]
            assert (lost and lost["firstOffset"]) == first, f"{name}: {first} is lost, found {found[0]}"
        print(f"        {writer}: {len(done)} damages, {len(damaged['findings'])} findings", flush=True)
        nodes = {kind: copy(node, f"damage-{writer}-{kind}") for kind in ("repair", "ottla", "apache")}
        # What was committed and is lost stays a finding.
        left = [it["problem"] for it in check(nodes["repair"], "--repair")["findings"] if "were committed, but the log ends at" not in it["problem"]]
        assert not left, f"after the repair: {left}"
        for kind in ("ottla", "apache"):
            nodes[kind].settings += STILL
            nodes[kind].start(kind)
            nodes[kind].stop(signal.SIGTERM)
        different = []
        names = sorted(os.path.basename(path) for path in glob.glob(f"{node.dir}/*/*-[0-9]*") if not path.endswith("-delete"))
        for name in names:
            of = {kind: Partition(nodes[kind], name) for kind in nodes}
            first = done[name][1][2] if name in done else None
            for kind, partition in of.items():
                try:
                    difference = compare(of["apache"], partition, Partition(node, name).end(), first, kind != "repair" or name in done)
                except (OSError, ValueError) as error:
                    difference = repr(error)
                if difference:
                    different.append(f"{name} ({damages[name].__name__ if name in damages else 'whole'}), {kind}: {difference}")
        for kind in ("ottla", "apache"):
            left = [it for it in check(nodes[kind])["findings"] if it["problem"] not in LEFT]
            if kind == "apache":
                left = [it for it in left if not it["problem"].endswith("is of epoch 0, which is missing")]
            different += [f"after a start of {kind}: {it['file']} {it['problem']}" for it in left]
        assert not different, "\n" + "\n".join(different)

    def compare(apaches, ours, end, first, is_touched):
        """What differs. A broker that started may have appended to some logs, and rolled them, behind where they ended."""
        common = min(end if first is None else first, apaches.end(), ours.end())
        theirs, mine = ({base: content for base, content in partition.logs().items() if content and base < common} for partition in (apaches, ours))
        if first is not None and common != first:
            return f"the log ends at {ours.end()}, Apache Kafka's at {apaches.end()}, where {first} is the first that is lost"
        if sorted(theirs) != sorted(mine):
            return f"segments {sorted(mine)}, not {sorted(theirs)}"
        for base in theirs:
            length = min(len(theirs[base]), len(mine[base]))
            if theirs[base][:length] != mine[base][:length]:
                return f"segment {base} has other bytes"
        # Apache Kafka recovers a last segment that has no index first, and then misses that the epochs before it are gone too.
        before = lambda partition: [entry for entry in partition.epochs() if entry[1] < common]
        if DAMAGES.get(apaches.name) != no_epochs and before(apaches) != before(ours):
            return f"epochs {before(ours)}, not {before(apaches)}"
        aborted = lambda partition: [open(path, "rb").read() for path in partition.files("txnindex") if os.path.getsize(path)]
        if aborted(apaches) != aborted(ours) and apaches.end() == ours.end():
            return f"aborted transactions {aborted(ours)}, not {aborted(apaches)}"
        snapshots = lambda partition: [os.path.basename(path) for path in partition.files("snapshot")]
        if is_touched and snapshots(apaches) != snapshots(ours) and apaches.end() == ours.end():
            return f"producer snapshots {snapshots(ours)}, not {snapshots(apaches)}"
        return None

    for writer in ("ottla", "apache"):
        suite.test(f"directory-damaged-of-{writer}", lambda: body(writer))
