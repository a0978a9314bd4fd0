"""Every file of a data directory, as ottla leaves it after work and a `kill -9` and as Apache Kafka does, by the tools of both: Apache's have nothing to
complain of, and ours say the same, byte for byte."""
import glob, json, os, re, signal, subprocess

from __main__ import HERE, sh, wait_for  # of ./run
from swap import Load, Node

# What no tool is to say of a file. `isvalid: false` is a wrong checksum, "unknown" a record that its decoder does not know.
COMPLAINTS = re.compile(r"isvalid: false|mismatch|non-consecutive|out of order|corrupt|could not|unknown|exception|<EMPTY>.*error|is not valid", re.I)
DECODERS = {"__consumer_offsets": ["--offsets-decoder"], "__transaction_state": ["--transaction-log-decoder"],
            "__share_group_state": ["--share-group-state-decoder"], "__cluster_metadata": ["--cluster-metadata-decoder"]}


def directory_tools(suite):
    def files(node, topic, *endings):
        """Not of topics that are being deleted."""
        found = [path for ending in endings for path in glob.glob(f"{node.dir}/*/{topic}-[0-9]*/*.{ending}")]
        return sorted(path for path in found if not os.path.dirname(path).endswith("-delete"))

    def both(name, *words):
        """What the one and the other tool says, which is the same."""
        ours, apaches = sh(suite.tool(f"kafka-{name}"), *words), sh(os.path.join(HERE, "kafka"), name, *words)
        if ours != apaches:
            differing = next((pair for pair in zip(ours.splitlines(), apaches.splitlines()) if pair[0] != pair[1]), ("fewer lines", "or more"))
            raise AssertionError(f"kafka-{name} {' '.join(words)[:300]}\nours:   {differing[0][:1000]}\nApache: {differing[1][:1000]}")
        return ours

    def dump(what, options, paths):
        """kafka-dump-log of these files; gives how many lines it printed."""
        assert paths, f"no files of {what}"
        text = both("dump-log", *options, "--files", ",".join(paths))
        complaint = next(filter(COMPLAINTS.search, text.splitlines()), None)
        assert not complaint, f"dump-log of {what}: {complaint[:600]}"
        return text.count("\n")

    def look(node, writer):
        plain = sorted({os.path.basename(path).rsplit("-", 1)[0] for path in glob.glob(f"{node.dir}/*/*-[0-9]*") if "/__" not in path})
        logs = [path for topic in plain for path in files(node, topic, "log")]
        lines = dump("plain topics", ["--deep-iteration", "--print-data-log"], logs)
        for topic, decoder in DECODERS.items():
            lines += dump(topic, [*decoder, "--deep-iteration"], files(node, topic, "log"))
        snapshots = files(node, "__cluster_metadata", "checkpoint") + [f"{node.dir}/data/bootstrap.checkpoint"]
        lines += dump("metadata snapshots", ["--cluster-metadata-decoder"], snapshots)
        indexes = files(node, "*", "index", "timeindex")
        for option in ([], ["--verify-index-only"], ["--index-sanity-check"])[: 3 if writer == "ottla" else 1]:
            lines += dump("indexes", option, indexes)
        lines += dump("producers and aborted transactions", [], files(node, "*", "snapshot", "txnindex"))
        print(f"        {writer}: kafka-dump-log printed {lines} lines on {len(glob.glob(f'{node.dir}/*/*/*'))} files", flush=True)
        both("storage", "info", "-c", os.path.join(node.dir, "server.properties"))
        check = [suite.tool("ottla"), "check", "--output", "json", f"{node.dir}/data", f"{node.dir}/more"]
        found = json.loads(subprocess.run(check, stdout=subprocess.PIPE, check=False).stdout)["findings"]
        # What compaction replaced goes a minute later, or at the next start, on the one broker as on the other.
        wrong = [finding for finding in found if finding["problem"] != "left over from a removal or a compaction"]
        assert not wrong, f"ottla check: {wrong[:3]}"
        shell = [os.path.join(HERE, "kafka"), "metadata-shell", "--snapshot", files(node, "__cluster_metadata", "checkpoint")[-1]]
        for words, expected in ((["ls", "/image/topics/byName"], "compacted"), (["cat", "/image/features/metadataVersion"], "4.3-IV0")):
            # It answers at times when it has read only the snapshot's header, so it is asked again.
            wait_for(lambda: expected in sh(*shell, *words), f"{expected} from metadata-shell {' '.join(words)}")

    def body():
        node = Node(suite, "tools")
        node.settings += ["log.index.interval.bytes=300", "log.roll.ms=4000", "log.roll.jitter.ms=0"]
        node.format("ottla", "4.3")
        node.start("ottla")
        load = Load(suite, node)
        load.go_on(8)
        node.stop(signal.SIGKILL)
        for writer in ("ottla", "apache"):
            node.start(writer)
            load.go_on(30)
            load.say("pause")
            node.stop(signal.SIGTERM)
            look(node, writer)
        load.say("end")
    suite.test("directory-by-both-tools", body)
