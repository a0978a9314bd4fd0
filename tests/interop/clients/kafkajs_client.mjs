// kafkajs; the verbs are those of aiokafka_client.py.
import fs from "node:fs";
import readline from "node:readline";
import { createRequire } from "node:module";
const { Kafka, CompressionTypes, Partitioners, logLevel, ConfigResourceTypes } = createRequire(process.cwd() + "/")("kafkajs");

const [verb, bootstrap, topic, last, group] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR, retry: { retries: 100, initialRetryTime: 100, maxRetryTime: 500 } });

async function batches(size, send) {
  let messages = [];
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const at = line.indexOf("\t");
    messages.push({ key: line.slice(0, at), value: line.slice(at + 1) });
    if (messages.length === size) {
      await send(messages);
      messages = [];
    }
  }
  if (messages.length) await send(messages);
}

if (verb === "produce") {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  const compression = last === "gzip" ? CompressionTypes.GZIP : CompressionTypes.None;
  await batches(5000, (messages) => producer.send({ topic, messages, acks: -1, compression }));
  await producer.disconnect();
} else if (verb === "transact") {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, maxInFlightRequests: 1, idempotent: true, transactionalId: `kafkajs-${topic}` });
  await producer.connect();
  let number = 0;
  const send = async (messages, commit) => {
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages, acks: -1 });
    await (commit ? transaction.commit() : transaction.abort());
  };
  await batches(1000, async (messages) => {
    if (number++ % 3 === 2) await send(messages, false);
    await send(messages, true);
  });
  await producer.disconnect();
} else if (verb === "admin") {
  const admin = kafka.admin();
  await admin.connect();
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
  await admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 1, configEntries: [{ name: "retention.ms", value: "12345000" }] }] });
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  await producer.send({ topic, messages: [0, 1, 2, 3, 4].map((n) => ({ value: String(n), partition: 0 })) });
  await producer.disconnect();
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
  console.log("partitions", metadata.topics[0].partitions.length);
  const configs = await admin.describeConfigs({ includeSynonyms: false, resources: [resource] });
  console.log("retention.ms", configs.resources[0].configEntries.find((entry) => entry.configName === "retention.ms").configValue);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "2" }] });
  const offsets = (await admin.fetchTopicOffsets(topic)).find((it) => it.partition === 0);
  console.log("offsets", offsets.low, offsets.high);
  await admin.setOffsets({ groupId: `group-${topic}`, topic, partitions: [{ partition: 0, offset: "3" }] });
  const committed = await admin.fetchOffsets({ groupId: `group-${topic}`, topics: [topic] });
  console.log("committed", committed[0].partitions.find((it) => it.partition === 0).offset);
  const listed = async () => (await admin.listGroups()).groups.some((it) => it.groupId === `group-${topic}`) ? "True" : "False";
  console.log("group listed", await listed());
  await admin.deleteGroups([`group-${topic}`]);
  console.log("group listed", await listed());
  console.log("listed", (await admin.listTopics()).includes(topic) ? "True" : "False");
  await admin.deleteTopics({ topics: [topic] });
  console.log("listed", (await admin.listTopics()).includes(topic) ? "True" : "False");
  await admin.disconnect();
} else {
  const consumer = kafka.consumer({ groupId: group ?? `kafkajs-${process.pid}-${Date.now()}`, readUncommitted: false });
  consumer.on(consumer.events.CRASH, (crash) => {
    if (crash.payload.restart) return;
    console.error(crash.payload.error);
    process.exit(1);
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let left = Number(last);
  const done = new Promise((resolve) => {
    consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch, resolveOffset, heartbeat, commitOffsetsIfNecessary, uncommittedOffsets }) => {
        let out = "";
        for (const message of batch.messages) {
          if (left <= 0) break;
          out += `${batch.partition}\t${message.offset}\t${message.key}\t${message.value}\n`;
          resolveOffset(message.offset);
          left -= 1;
        }
        fs.writeSync(1, out);
        if (group) await commitOffsetsIfNecessary(uncommittedOffsets());
        await heartbeat();
        if (left <= 0) resolve();
      },
    });
  });
  await done;
  await consumer.disconnect();
}
