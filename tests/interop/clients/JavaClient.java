// Apache Kafka's own client; the verbs are those of aiokafka_client.py, and `group-consumer` is `group` in the consumer protocol of KIP-848.
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

public class JavaClient {
    static String verb, bootstrap, topic;

    record Line(byte[] key, byte[] value) {}

    interface Send { void accept(List<Line> lines) throws Exception; }

    static void batches(int size, Send send) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.ISO_8859_1));
        var lines = new ArrayList<Line>();
        for (String line; (line = input.readLine()) != null; ) {
            int at = line.indexOf('\t');
            lines.add(new Line(line.substring(0, at).getBytes(StandardCharsets.ISO_8859_1), line.substring(at + 1).getBytes(StandardCharsets.ISO_8859_1)));
            if (lines.size() == size) {
                send.accept(lines);
                lines.clear();
            }
        }
        if (!lines.isEmpty()) send.accept(lines);
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        var config = new HashMap<String, Object>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 5));
        config.putAll(more);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void produce(String codec) throws Exception {
        try (var producer = producer(Map.of("compression.type", codec))) {
            batches(5000, lines -> {
                var sent = new ArrayList<java.util.concurrent.Future<RecordMetadata>>();
                for (var line : lines) sent.add(producer.send(new ProducerRecord<>(topic, line.key, line.value)));
                for (var result : sent) result.get();
            });
        }
    }

    static void transact() throws Exception {
        try (var producer = producer(Map.of("transactional.id", "java-" + topic, "max.block.ms", 120000))) {
            producer.initTransactions();
            int[] number = {0};
            batches(1000, lines -> {
                for (boolean commit : number[0]++ % 3 == 2 ? new boolean[] {false, true} : new boolean[] {true}) {
                    producer.beginTransaction();
                    for (var line : lines) producer.send(new ProducerRecord<>(topic, line.key, line.value));
                    if (commit) producer.commitTransaction(); else producer.abortTransaction();
                }
            });
        }
    }

    static void consume(int count, String group, String protocol) throws Exception {
        var config = new HashMap<String, Object>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest", "enable.auto.commit", false,
            "isolation.level", "read_committed", "max.poll.records", 1000));
        if (group != null) config.putAll(Map.of("group.id", group, "group.protocol", protocol));
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            if (group != null) {
                consumer.subscribe(List.of(topic));
            } else {
                consumer.assign(consumer.partitionsFor(topic).stream().map(it -> new TopicPartition(topic, it.partition())).toList());
            }
            var out = new BufferedOutputStream(System.out);
            var committed = new HashMap<TopicPartition, OffsetAndMetadata>();
            long patience = System.currentTimeMillis() + 60000;
            while (count > 0) {
                var records = consumer.poll(Duration.ofSeconds(1));
                if (records.isEmpty() && System.currentTimeMillis() > patience) throw new IllegalStateException(count + " records missing");
                for (var record : records) {
                    if (count-- <= 0) break;
                    out.write((record.partition() + "\t" + record.offset() + "\t").getBytes());
                    out.write(record.key());
                    out.write('\t');
                    out.write(record.value());
                    out.write('\n');
                    committed.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
            }
            out.flush();
            if (group != null) consumer.commitSync(committed);
        }
    }

    static String yes(boolean is) { return is ? "True" : "False"; }

    static void admin() throws Exception {
        try (var admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap)); var producer = producer(Map.of())) {
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var partition = new TopicPartition(topic, 0);
            var group = "group-" + topic;
            admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "12345000")))).all().get();
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
            admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(new ConfigEntry("segment.ms", "7654000"), AlterConfigOp.OpType.SET)))).all().get();
            for (int number = 0; number < 5; number++) producer.send(new ProducerRecord<>(topic, 0, null, new byte[] {1})).get();
            System.out.println("partitions " + admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            var configs = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            System.out.println("retention.ms " + configs.get("retention.ms").value());
            System.out.println("segment.ms " + configs.get("segment.ms").value());
            admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(2))).all().get();
            System.out.println("offsets " + admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).all().get().get(partition).offset()
                + " " + admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all().get().get(partition).offset());
            admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(3))).all().get();
            System.out.println("committed " + admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition).offset());
            System.out.println("group listed " + yes(admin.listGroups().all().get().stream().anyMatch(it -> it.groupId().equals(group))));
            admin.deleteConsumerGroups(List.of(group)).all().get();
            System.out.println("group listed " + yes(admin.listGroups().all().get().stream().anyMatch(it -> it.groupId().equals(group))));
            System.out.println("listed " + yes(admin.listTopics().names().get().contains(topic)));
            admin.deleteTopics(List.of(topic)).all().get();
            System.out.println("listed " + yes(admin.listTopics().names().get().contains(topic)));
        }
    }

    public static void main(String[] args) throws Exception {
        verb = args[0];
        bootstrap = args[1];
        topic = args[2];
        switch (verb) {
            case "produce" -> produce(args[3]);
            case "transact" -> transact();
            case "admin" -> admin();
            case "consume" -> consume(Integer.parseInt(args[3]), null, null);
            default -> consume(Integer.parseInt(args[3]), args[4], verb.equals("group") ? "classic" : "consumer");
        }
        System.exit(0);
    }
}
