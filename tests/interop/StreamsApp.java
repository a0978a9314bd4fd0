import java.io.PrintStream;
import java.time.Duration;
import java.util.*;
import java.util.stream.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;

/**
 * A Kafka Streams application and a look at what it wrote.
 *
 *   run BOOTSTRAP STATE_DIR [KEY=VALUE...]   counts the words of topic `lines` into `counts`, and joins `left` with `right`, within
 *                                            30 seconds of event time, into `joined`; says its states; ends when asked to
 *   read BOOTSTRAP TOPIC COUNT > partition, key, value of all committed records; COUNT or more are waited for
 */
public class StreamsApp {
    static final Duration APART = Duration.ofSeconds(30);

    public static void main(String[] args) throws Exception {
        if (args[0].equals("run")) run(args[1], args[2], Arrays.copyOfRange(args, 3, args.length));
        else read(args[1], args[2], Integer.parseInt(args[3]));
    }

    static Topology topology(Properties config) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream("lines")
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word)
            .count(Materialized.as("words"))
            .toStream().mapValues(String::valueOf)
            .to("counts");
        // All input is within the grace, so that no order of arrival drops a pair.
        builder.<String, String>stream("left")
            .join(builder.<String, String>stream("right"), (left, right) -> left + "+" + right,
                JoinWindows.ofTimeDifferenceAndGrace(APART, Duration.ofDays(2)),
                StreamJoined.<String, String, String>as("pairs"))
            .to("joined");
        return builder.build(config);
    }

    static void run(String bootstrap, String stateDir, String[] settings) throws Exception {
        Properties config = new Properties();
        config.put("application.id", "interop");
        config.put("bootstrap.servers", bootstrap);
        config.put("state.dir", stateDir);
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        config.put("num.stream.threads", "2");
        config.put("auto.offset.reset", "earliest");
        // Every input has its own output, which shows what happened twice or not at all.
        config.put("statestore.cache.max.bytes", "0");
        config.put("commit.interval.ms", "100");
        config.put("repartition.purge.interval.ms", "2000");
        for (String setting : settings) {
            String[] pair = setting.split("=", 2);
            config.put(pair[0], pair[1]);
        }
        KafkaStreams streams = new KafkaStreams(topology(config), config);
        streams.setStateListener((now, before) -> System.out.println(before + " -> " + now));
        streams.setUncaughtExceptionHandler(exception -> {
            System.out.println("THE APPLICATION FAILED: " + exception);
            exception.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
        while (streams.state() != KafkaStreams.State.ERROR && streams.state() != KafkaStreams.State.NOT_RUNNING) Thread.sleep(100);
        if (streams.state() == KafkaStreams.State.ERROR) Runtime.getRuntime().halt(1);
    }

    static void read(String bootstrap, String topic, int count) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed",
            "enable.auto.commit", false, "fetch.max.wait.ms", 100);
        PrintStream out = new PrintStream(System.out, false);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            int seen = 0;
            // More than COUNT is what must not be; it would come soon after.
            for (long last = System.currentTimeMillis(); System.currentTimeMillis() - last < (seen < count ? 60_000 : 2_000); ) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<String, String> record : records) out.println(record.partition() + "\t" + record.key() + "\t" + record.value());
                seen += records.count();
                if (!records.isEmpty()) last = System.currentTimeMillis();
            }
        }
        out.flush();
    }
}
