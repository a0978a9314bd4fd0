"""What administrators set on a cluster, beside topics: `furnish` sets some of everything, `seen` gives a line for each thing that is there, in any
order."""
import socket, struct, time

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, ConfigResource, ConfigResourceType, ResourcePattern, ResourcePatternFilter
from kafka.admin import ResourceType, ScramMechanism, UserScramCredentialUpsertion
from kafka.errors import SecurityDisabledError
from kafka.protocol.admin import AlterClientQuotasRequest, DescribeClientQuotasRequest
from kafka.protocol.producer import InitProducerIdRequest

QUOTAS = [([("user", "alice")], {"producer_byte_rate": 1e9, "request_percentage": 512.5}), ([("user", None), ("client-id", "c")], {"consumer_byte_rate": 1e9}),
          ([("client-id", None)], {"controller_mutation_rate": 1e6}), ([("ip", "10.1.2.3")], {"connection_creation_rate": 1e6})]
CONFIGS = [(ConfigResourceType.CLIENT_METRICS, "subscription", {"interval.ms": "100000", "metrics": "org.apache.kafka.producer.", "match": "client_id=.*"}),
           (ConfigResourceType.GROUP, "group-consumer", {"consumer.session.timeout.ms": "50000"}),
           (ConfigResourceType.GROUP, "group-share", {"share.auto.offset.reset": "earliest", "share.record.lock.duration.ms": "20000"}),
           (ConfigResourceType.BROKER, "1", {"log.cleaner.threads": "2"})]


class Cluster:
    def __init__(self, bootstrap):
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def ask(self, request):
        return self.admin._manager.run(lambda: self.admin._manager.send(request))

    def furnish(self, share_groups):
        entry = AlterClientQuotasRequest.EntryData
        entity = lambda names: [entry.EntityData(entity_type=type_, entity_name=name) for type_, name in names]
        ops = lambda quotas: [entry.OpData(key=key, value=value, remove=False) for key, value in quotas.items()]
        entries = [entry(entity=entity(names), ops=ops(quotas)) for names, quotas in QUOTAS]
        assert all(not result.error_code for result in self.ask(AlterClientQuotasRequest(entries=entries, validate_only=False)).entries)
        configs = [ConfigResource(*config) for config in CONFIGS if share_groups or config[1] != "group-share"]
        assert all(result == "OK" for results in self.admin.alter_configs(configs).values() for result in results.values())
        users = [UserScramCredentialUpsertion("alice", ScramMechanism.SCRAM_SHA_256, "secret", iterations=5000),
                 UserScramCredentialUpsertion("bob", ScramMechanism.SCRAM_SHA_512, "secret", iterations=6000)]
        assert not any(self.admin.alter_user_scram_credentials(users).values())
        try:
            self.admin.create_acls([ACL(f"User:{name}", "*", ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, "plain"))
                                    for name in ("alice", "bob")])
        except SecurityDisabledError:
            pass

    def acls(self):
        """None on a broker without an authorizer."""
        every = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY))
        try:
            return sorted(map(str, self.admin.describe_acls(every)[0]))
        except SecurityDisabledError:
            return None

    def new_producer_id(self):
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000, producer_id=-1, producer_epoch=-1)
        while (answer := self.ask(request)).error_code:
            time.sleep(0.1)
        return answer.producer_id

    def seen(self):
        for entry in self.ask(DescribeClientQuotasRequest(components=[], strict=False)).entries:
            yield "quota", sorted((part.entity_type, part.entity_name or "") for part in entry.entity), sorted((it.key, it.value) for it in entry.values)
        resources = [ConfigResource(type_, name) for type_, name, _ in CONFIGS]
        for type_, named in sorted(self.admin.describe_configs(resources, config_filter="all").items()):
            for name, configs in sorted(named.items()):
                dynamic = {key: value["value"] for key, value in configs.items() if value["config_source"].startswith("DYNAMIC")}
                yield "config", type_, name, sorted(dynamic.items())
        for user, described in sorted(self.admin.describe_user_scram_credentials().items()):
            yield "scram", user, str(described["credential_infos"])
        for broker in self.admin.describe_log_dirs():
            for log_dir in broker["log_dirs"]:
                for topic in log_dir["topics"]:
                    for partition in topic["partitions"]:
                        yield "directory", topic["name"], partition["partition_index"], log_dir["log_dir"].rsplit("/", 1)[1]
        for listed in self.admin.list_transactions().values():
            for transaction in listed:
                yield "transaction", transaction.transactional_id, transaction.producer_id, str(transaction.state)
        yield "features", sorted(self.features().items())

    def features(self):
        return {name: levels["finalized"][1] for name, levels in self.admin.describe_features().items() if "finalized" in levels}


def text(value):
    """A compact string."""
    return struct.pack(">B", len(value) + 1) + value.encode()


class Connection:
    """Requests that no client in Python has, as bytes: what stands in the body goes, and comes back."""

    def __init__(self, bootstrap):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 30)
        self.answers = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answers.close()
        self.socket.close()

    def ask(self, key, version, body):
        request = struct.pack(">hhih", key, version, 1, 4) + b"view\0" + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)
        length = self.answers.read(4)
        if len(length) < 4:
            raise ConnectionError("closed")
        answer = self.answers.read(struct.unpack(">i", length)[0])
        # Behind the correlation ID and no tagged fields.
        return answer[5:]


def share_group_state(bootstrap, group, topic_id, partition, leader_epoch):
    """What the share coordinator keeps of a partition, or its error: ReadShareGroupState 0. Of each range of records: the first and the last offset,
    the state, and how often they were delivered."""
    body = text(group) + b"\x02" + topic_id.bytes + b"\x02" + struct.pack(">ii", partition, leader_epoch) + b"\0\0\0"
    with Connection(bootstrap) as connection:
        # One topic, one partition of it.
        answer = connection.ask(84, 0, body)[1 + 16 + 1:]
    error, message = struct.unpack_from(">hB", answer, 4)
    if error:
        return f"error {error}"
    at = 7 + max(message - 1, 0)
    _, start = struct.unpack_from(">iq", answer, at)
    # The count of them takes one byte, or two.
    at += 13 + (answer[at + 12] > 127)
    return start, [struct.unpack_from(">qqbh", answer, position) for position in range(at, len(answer) - 4, 20)]


# By which request a group of a kind is described, and in which version.
DESCRIPTIONS = {"consumer": (69, 1), "share": (77, 1), "streams": (89, 0)}


def group_description(bootstrap, kind):
    """All that a coordinator says of such a group: state, epochs, members, assignments. As bytes, because each is to say the same."""
    body = b"\x02" + text(f"group-{kind}") + b"\0\0"
    with Connection(bootstrap) as connection:
        answer = connection.ask(*DESCRIPTIONS[kind], body)
        # Error, message, group; then the state, and the epochs of the group and of its assignment.
        state = 9 + len(f"group-{kind}")
        for behind in range(40 if kind == "streams" and not struct.unpack_from(">h", answer, 5)[0] else 0):
            # The topology is resolved, and what is assigned arrives, when a member tells that it is there.
            member = StreamsMember(bootstrap)
            member.epoch = struct.unpack_from(">i", answer, state + answer[state] + 4)[0] - behind % 4
            error, epoch = member.heartbeat(connection) if member.epoch > 0 else (1, 0)
            if not error:
                member.epoch = epoch
                # What it resolved is seen once there is a later record.
                error = member.commit(connection, 1, 7)
            answer = connection.ask(*DESCRIPTIONS[kind], body)
            if not error and answer[state + 1:state + answer[state]] == b"Stable":
                break
            time.sleep(0.1)
    return answer[4:].decode("latin-1")


class StreamsMember:
    """One member of a streams group, of which only the coordinator knows: it joins, sends heartbeats, and commits offsets of `plain`."""

    def __init__(self, bootstrap):
        self.bootstrap, self.epoch, self.number = bootstrap, 0, 0

    def beat(self, offset):
        """A heartbeat and a commit. An error, or an end of the broker, is for the next time."""
        try:
            with Connection(self.bootstrap) as connection:
                error, epoch = self.heartbeat(connection)
                if error in (25, 110):  # UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH
                    self.epoch = 0
                elif not error:
                    self.epoch = epoch
                    self.commit(connection, 0, offset)
        except OSError:
            pass

    def heartbeat(self, connection):
        nothing, none = b"\x01", b"\0"  # an empty and a null array
        body = text("group-streams") + text("streams-member") + struct.pack(">ii", self.epoch, 0) + none + none
        if self.epoch:
            body += struct.pack(">i", -1) + b"\xff" + none * 3
        else:
            topic_info = b"\x02" + text("changelog") + struct.pack(">ih", 0, 1) + b"\x02" + text("cleanup.policy") + text("compact") + b"\0" + b"\0"
            subtopology = text("0") + b"\x02" + text("plain") + nothing + topic_info + nothing + nothing + nothing + b"\0"
            body += struct.pack(">i", 60_000) + b"\x01" + struct.pack(">i", 1) + b"\x02" + subtopology + b"\0" + nothing * 3
        body += (none if self.epoch else text("process")) + b"\xff" + (none if self.epoch else nothing) + none + none + b"\0" + b"\0"
        answer = connection.ask(88, 0, body)
        error, message = struct.unpack_from(">hB", answer, 4)
        if error:
            return error, 0
        at = 7 + max(message - 1, 0)
        at += answer[at]
        return error, struct.unpack_from(">i", answer, at)[0]

    def commit(self, connection, partition, offset):
        partition = struct.pack(">iqi", partition, offset, -1) + text("by streams") + b"\0"
        topic = text("plain") + b"\x02" + partition + b"\0"
        answer = connection.ask(8, 9, text("group-streams") + struct.pack(">i", self.epoch) + text("streams-member") + b"\0" + b"\x02" + topic + b"\0")
        # One topic, one partition of it.
        return struct.unpack_from(">h", answer, 4 + 1 + 1 + len("plain") + 1 + 4)[0]
