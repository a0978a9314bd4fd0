//! What configs are for, in a sentence each: those that people set. Clients that ask for documentation show it.

/// The documentation of a config of a topic, group, client metrics subscription or broker; none for what nobody sets by hand.
pub fn of(name: &str) -> Option<&'static str> {
    let direct = |name: &str| DOCUMENTATION.iter().find(|(documented, _)| *documented == name).map(|(_, text)| *text);
    direct(name).or_else(|| {
        // A broker's default for topics is documented once, as the topic config.
        super::topic().iter().find(|definition| definition.synonym == Some(name)).and_then(|definition| direct(definition.name))
    })
}

/// Name and text, sorted by name.
#[rustfmt::skip]
const DOCUMENTATION: &[(&str, &str)] = &[
    ("advertised.listeners", "The addresses that clients are told to connect to, when they differ from those that are listened on: `NAME://host:port`, separated by commas."),
    ("auto.create.topics.enable", "Whether a topic is created when a client asks for the metadata of one that does not exist."),
    ("background.threads", "How many threads do work that nobody waits for."),
    ("broker.heartbeat.interval.ms", "How often a broker tells the controller that it is alive, in milliseconds."),
    ("broker.id", "The old name of node.id."),
    ("broker.rack", "The rack or zone of this broker; replicas of a partition are spread over racks."),
    ("broker.session.timeout.ms", "How long the controller waits for a heartbeat before it fences a broker, in milliseconds."),
    ("cleanup.policy", "What becomes of old segments: `delete` removes them by age and size, `compact` keeps the last record of each key; both may be given. With neither, everything is kept."),
    ("compression.gzip.level", "The level of gzip compression, where the broker compresses: 1 to 9, or -1 for the library's default."),
    ("compression.lz4.level", "The level of lz4 compression, where the broker compresses."),
    ("compression.type", "How records are compressed on disk; `producer` keeps what the producer sent, `uncompressed` undoes it."),
    ("compression.zstd.level", "The level of zstd compression, where the broker compresses."),
    ("connections.max.idle.ms", "A connection on which nothing has happened for so many milliseconds is closed."),
    ("consumer.assignment.interval.ms", "The least time between two assignments of a consumer group, in milliseconds."),
    ("consumer.heartbeat.interval.ms", "How often members of a consumer group are told to send heartbeats, in milliseconds."),
    ("consumer.session.timeout.ms", "A member of a consumer group that sends no heartbeat for so many milliseconds is removed."),
    ("controlled.shutdown.enable", "Whether a broker hands its leaderships over before it stops."),
    ("controller.listener.names", "The names of the listeners that controllers use."),
    ("controller.quorum.bootstrap.servers", "Addresses by which the controllers are found: `host:port`, separated by commas."),
    ("controller.quorum.election.timeout.ms", "How long a controller waits for a leader before it starts an election, in milliseconds."),
    ("controller.quorum.fetch.timeout.ms", "How long a controller may hear nothing from the leader before it stands for election, in milliseconds."),
    ("controller.quorum.voters", "The controllers of a quorum that never changes: `id@host:port`, separated by commas."),
    ("cordoned.log.dirs", "Log directories that take no new replicas; `*` is all of them."),
    ("default.replication.factor", "How many replicas a topic has whose creator does not say."),
    ("delete.retention.ms", "How long a compacted topic keeps the marker of a deleted key, in milliseconds: readers must be through in that time to see all deletions."),
    ("delete.topic.enable", "Whether topics can be deleted."),
    ("fetch.max.bytes", "The most bytes that one fetch request is answered with."),
    ("file.delete.delay.ms", "How long a deleted segment stays on disk under another name, in milliseconds."),
    ("flush.messages", "After how many records the log is forced to disk. Replication protects data better and faster."),
    ("flush.ms", "After how many milliseconds the log is forced to disk. Replication protects data better and faster."),
    ("follower.replication.throttled.replicas", "The replicas whose copying is throttled at the follower: `partition:broker`, separated by commas, or `*`."),
    ("group.initial.rebalance.delay.ms", "How long the coordinator waits for more members before the first rebalance of a new classic group, in milliseconds."),
    ("group.max.session.timeout.ms", "The longest session timeout that a member of a classic group may ask for, in milliseconds."),
    ("group.max.size", "The most members that a classic group may have."),
    ("group.min.session.timeout.ms", "The shortest session timeout that a member of a classic group may ask for, in milliseconds."),
    ("index.interval.bytes", "After how many bytes of records the index gets an entry: fewer make it larger and lookups more exact."),
    ("inter.broker.listener.name", "The listener on which brokers talk to each other."),
    ("interval.ms", "How often clients push their metrics, in milliseconds."),
    ("leader.replication.throttled.replicas", "The replicas whose copying is throttled at the leader: `partition:broker`, separated by commas, or `*`."),
    ("listener.security.protocol.map", "The security protocol of each listener: `NAME:PROTOCOL`, separated by commas."),
    ("listeners", "What this node listens on: `NAME://host:port`, separated by commas; no host is every address."),
    ("local.retention.bytes", "The size up to which a tiered partition stays on local disk; -2 is retention.bytes."),
    ("local.retention.ms", "How long a tiered partition stays on local disk, in milliseconds; -2 is retention.ms."),
    ("log.cleaner.enable", "Whether compacted topics are compacted."),
    ("log.cleaner.threads", "How many threads compact logs."),
    ("log.dir", "The directory that holds the data, unless log.dirs is set."),
    ("log.dirs", "The directories that hold the data, separated by commas."),
    ("log.flush.scheduler.interval.ms", "How often logs are looked over for what is due to be forced to disk, in milliseconds."),
    ("log.retention.check.interval.ms", "How often logs are looked over for segments that are due for deletion, in milliseconds."),
    ("log.retention.hours", "How long records are kept, in hours; log.retention.minutes and log.retention.ms come before it."),
    ("log.retention.minutes", "How long records are kept, in minutes; log.retention.ms comes before it."),
    ("log.roll.hours", "After how many hours a new segment begins; log.roll.ms comes before it."),
    ("match", "Which clients a subscription is for: `parameter=regular expression`, separated by commas."),
    ("max.compaction.lag.ms", "The longest time that a record of a compacted topic may stay uncompacted, in milliseconds."),
    ("max.connections", "The most connections that the node has at a time."),
    ("max.connections.per.ip", "The most connections that the node has from one address."),
    ("max.incremental.fetch.session.cache.slots", "How many incremental fetch sessions are remembered."),
    ("max.message.bytes", "The largest batch of records, after compression, that is taken."),
    ("message.timestamp.after.max.ms", "How far a record's timestamp may lie after the broker's time, in milliseconds."),
    ("message.timestamp.before.max.ms", "How far a record's timestamp may lie before the broker's time, in milliseconds."),
    ("message.timestamp.type", "Whether a record has the time of its creation (`CreateTime`) or of its arrival (`LogAppendTime`)."),
    ("metadata.log.dir", "The directory of the metadata log; the first of the log directories when it is not set."),
    ("metrics", "Which metrics clients push: prefixes of their names, separated by commas; `*` is all."),
    ("min.cleanable.dirty.ratio", "The share of a compacted log that must be uncompacted before it is worth the work."),
    ("min.compaction.lag.ms", "How long a record of a compacted topic stays uncompacted at least, in milliseconds."),
    ("min.insync.replicas", "How many replicas must have a record before a producer with acks=all hears of success; with fewer in sync, it hears of an error."),
    ("node.id", "This node's number, which no other node of the cluster has."),
    ("num.io.threads", "How many threads serve requests."),
    ("num.network.threads", "How many threads of each listener read requests and write responses."),
    ("num.partitions", "How many partitions a topic has whose creator does not say."),
    ("num.recovery.threads.per.data.dir", "How many threads of each log directory recover logs at the start."),
    ("num.replica.fetchers", "How many connections copy records from each other broker."),
    ("offset.metadata.max.bytes", "The longest text that may be committed with an offset."),
    ("offsets.retention.check.interval.ms", "How often expired offsets are looked for, in milliseconds."),
    ("offsets.retention.minutes", "How long the offsets of a group are kept after its last member has left, in minutes."),
    ("offsets.topic.num.partitions", "How many partitions the topic of committed offsets has; it must not change."),
    ("offsets.topic.replication.factor", "How many replicas the topic of committed offsets has."),
    ("offsets.topic.segment.bytes", "The segment size of the topic of committed offsets."),
    ("preallocate", "Whether a segment's file has its full size from the start."),
    ("process.roles", "What this node is: `broker`, `controller` or both."),
    ("producer.id.expiration.ms", "After how many idle milliseconds a partition forgets an idempotent producer."),
    ("queued.max.requests", "How many requests may wait before connections are no longer read."),
    ("remote.log.copy.disable", "Whether a tiered topic stops copying segments to remote storage."),
    ("remote.log.delete.on.disable", "Whether remote data is deleted when a topic stops being tiered."),
    ("remote.storage.enable", "Whether a topic is tiered: old segments move to remote storage."),
    ("replica.lag.time.max.ms", "A follower that has not caught up for so many milliseconds is no longer in sync."),
    ("request.timeout.ms", "How long a request to another node may take, in milliseconds."),
    ("retention.bytes", "The size of a partition above which its oldest segments are deleted; -1 is no limit."),
    ("retention.ms", "The age in milliseconds above which segments are deleted; -1 is no limit."),
    ("security.inter.broker.protocol", "The security protocol between brokers, unless inter.broker.listener.name is set."),
    ("segment.bytes", "The size at which a new segment begins; whole segments are deleted and compacted."),
    ("segment.index.bytes", "The largest size of an index file."),
    ("segment.jitter.ms", "The most that is taken off segment.ms at random, so that not all segments roll at once, in milliseconds."),
    ("segment.ms", "The age in milliseconds at which a new segment begins, full or not."),
    ("share.auto.offset.reset", "Where a share group starts that has no offsets: `earliest`, `latest` or `by_duration:` and a duration."),
    ("share.delivery.count.limit", "How often a record is given to members of a share group before it is given up."),
    ("share.heartbeat.interval.ms", "How often members of a share group are told to send heartbeats, in milliseconds."),
    ("share.isolation.level", "Whether a share group reads the records of open and aborted transactions."),
    ("share.partition.max.record.locks", "The most records of a partition that a share group may hold at a time."),
    ("share.record.lock.duration.ms", "How long a member of a share group holds a record before another may have it, in milliseconds."),
    ("share.session.timeout.ms", "A member of a share group that sends no heartbeat for so many milliseconds is removed."),
    ("socket.receive.buffer.bytes", "The size of a socket's receive buffer; -1 is the operating system's."),
    ("socket.request.max.bytes", "The largest request that is read; a larger one closes its connection."),
    ("socket.send.buffer.bytes", "The size of a socket's send buffer; -1 is the operating system's."),
    ("streams.heartbeat.interval.ms", "How often members of a streams group are told to send heartbeats, in milliseconds."),
    ("streams.num.standby.replicas", "How many standby copies of its state a streams group keeps."),
    ("streams.session.timeout.ms", "A member of a streams group that sends no heartbeat for so many milliseconds is removed."),
    ("transaction.max.timeout.ms", "The longest transaction timeout that a producer may ask for, in milliseconds."),
    ("transaction.state.log.replication.factor", "How many replicas the topic of transactions has."),
    ("transactional.id.expiration.ms", "After how many idle milliseconds a transactional id is forgotten."),
    ("unclean.leader.election.enable", "Whether a replica that is not in sync may lead when there is no other, at the cost of lost records."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::config::{broker, client_metrics, group, topic};

    #[test]
    fn what_is_documented_exists() {
        for (name, _) in DOCUMENTATION {
            assert!([broker(), topic(), group(), client_metrics()].iter().any(|def| def.get(name).is_some()), "{name}");
        }
        assert!(DOCUMENTATION.is_sorted_by_key(|(name, _)| name));
    }

    #[test]
    fn every_topic_config_is_documented_and_so_is_its_default() {
        for definition in topic().iter().filter(|definition| !definition.internal) {
            assert!(of(definition.name).is_some(), "{}", definition.name);
            assert!(definition.synonym.is_none_or(|synonym| of(synonym).is_some()), "{:?}", definition.synonym);
        }
    }
}
