// What lies in a data directory for kafka-dump-log to show, written by Apache Kafka's own clients; see record_dump_log.
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.server.log.remote.metadata.storage.serialization.RemoteLogMetadataSerde;
import org.apache.kafka.server.log.remote.storage.*;
import org.apache.kafka.server.log.remote.storage.RemoteLogSegmentMetadata.CustomMetadata;

public class DumpLogFixture {
    static String bootstrap;

    static Map<String, Object> config(Object... pairs) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) config.put((String) pairs[i], pairs[i + 1]);
        return config;
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static Producer<byte[], byte[]> producer(Object... pairs) {
        return new KafkaProducer<>(config(pairs), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void send(Producer<byte[], byte[]> producer, String topic, byte[] key, byte[] value, String... headers) {
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, key, value);
        for (String header : headers) record.headers().add(header, bytes("of " + header));
        producer.send(record);
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        try (Admin admin = Admin.create(config())) {
            Map<String, String> indexed = Map.of("index.interval.bytes", "1");
            admin.createTopics(List.of(
                new NewTopic("records", 1, (short) 1).configs(indexed),
                new NewTopic("numbers", 1, (short) 1).configs(Map.of("message.timestamp.type", "LogAppendTime")),
                new NewTopic("transactions", 1, (short) 1).configs(indexed),
                new NewTopic("remote", 1, (short) 1))).all().get();
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
                try (Producer<byte[], byte[]> producer = producer("compression.type", codec, "linger.ms", 200)) {
                    send(producer, "records", bytes(codec + "-a"), bytes(codec + " first"), "h1", "ünïcödé");
                    send(producer, "records", bytes(codec + "-b"), bytes("second \"quoted\"\t" + codec.repeat(20)));
                }
            }
            try (Producer<byte[], byte[]> producer = producer("enable.idempotence", false, "linger.ms", 200)) {
                send(producer, "records", bytes("tombstone"), null);
                send(producer, "records", null, bytes("no key"));
                send(producer, "records", new byte[0], new byte[0]);
                send(producer, "records", null, null);
                send(producer, "records", new byte[] {(byte) 0xff, 0, 'x'}, new byte[] {(byte) 0xc3, '(', (byte) 0xe2, (byte) 0x82});
                send(producer, "numbers", new byte[] {0, 0, 1, 0}, new byte[] {-1, -1, -1, -1, -1, -1, -1, -2});
                send(producer, "numbers", new byte[] {-1, -1, -1, -1, 9}, new byte[] {0, 0, 0, 0, 0, 0, 0, 5, 9});
                send(producer, "numbers", new byte[] {1}, new byte[] {2});
            }
            try (Producer<byte[], byte[]> producer = producer("transactional.id", "x", "linger.ms", 0)) {
                producer.initTransactions();
                for (int n = 0; n < 4; n++) {
                    producer.beginTransaction();
                    send(producer, "transactions", bytes("k" + n), bytes("v" + n));
                    producer.flush();
                    if (n % 2 == 0) producer.commitTransaction(); else producer.abortTransaction();
                }
            }
            RemoteLogMetadataSerde serde = new RemoteLogMetadataSerde();
            TopicIdPartition partition = new TopicIdPartition(new Uuid(1, 2), new TopicPartition("far", 3));
            RemoteLogSegmentId id = new RemoteLogSegmentId(partition, new Uuid(3, 4));
            try (Producer<byte[], byte[]> producer = producer("linger.ms", 200)) {
                send(producer, "remote", null, serde.serialize(new RemoteLogSegmentMetadata(id, 5, 99, 1000, 1, 2000, 4096, Map.of(0, 5L, 7, 50L))));
                send(producer, "remote", null, serde.serialize(new RemoteLogSegmentMetadataUpdate(id, 3000,
                    Optional.of(new CustomMetadata(new byte[] {1, 2, 3})), RemoteLogSegmentState.COPY_SEGMENT_FINISHED, 1)));
                send(producer, "remote", null, serde.serialize(new RemoteLogSegmentMetadata(id, 5, 99, 1000, 1, 2000, 4096,
                    Optional.of(new CustomMetadata(new byte[] {1})), RemoteLogSegmentState.DELETE_SEGMENT_STARTED, Map.of(3, 5L), true)));
                send(producer, "remote", null, serde.serialize(new RemotePartitionDeleteMetadata(partition,
                    RemotePartitionDeleteState.DELETE_PARTITION_MARKED, 4000, 1)));
                send(producer, "remote", null, bytes("no such record"));
            }
            for (String protocol : List.of("classic", "consumer")) {
                try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(config("group.id", protocol + "-group", "group.protocol", protocol,
                        "auto.offset.reset", "earliest", "enable.auto.commit", false), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                    consumer.subscribe(List.of("records"));
                    while (consumer.poll(Duration.ofMillis(200)).isEmpty()) { }
                    consumer.commitSync(Map.of(new TopicPartition("records", 0), new OffsetAndMetadata(3, "with metadata")));
                }
            }
            admin.incrementalAlterConfigs(Map.of(new org.apache.kafka.common.config.ConfigResource(
                org.apache.kafka.common.config.ConfigResource.Type.GROUP, "share"),
                List.of(new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET)))).all().get();
            try (ShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(config("group.id", "share"),
                    new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.subscribe(List.of("records"));
                while (consumer.poll(Duration.ofMillis(500)).isEmpty()) { }
                consumer.commitSync();
            }
            admin.alterClientQuotas(List.of(new org.apache.kafka.common.quota.ClientQuotaAlteration(
                new org.apache.kafka.common.quota.ClientQuotaEntity(Map.of("client-id", "c")),
                List.of(new org.apache.kafka.common.quota.ClientQuotaAlteration.Op("producer_byte_rate", 12345678.0))))).all().get();
            admin.deleteConsumerGroups(List.of("classic-group")).all().get();
        }
    }
}
