// kafkajs: produce BOOTSTRAP TOPIC none|gzip < key<TAB>value lines; consume BOOTSTRAP TOPIC COUNT > partition, offset, key, value.
import fs from "node:fs";
import readline from "node:readline";
import { createRequire } from "node:module";
const { Kafka, CompressionTypes, Partitioners, logLevel } = createRequire(process.cwd() + "/")("kafkajs");

const [verb, bootstrap, topic, last] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR });
if (verb === "produce") {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, maxInFlightRequests: 1, idempotent: true });
  await producer.connect();
  let messages = [];
  const send = async () => {
    await producer.send({ topic, messages, acks: -1, compression: last === "gzip" ? CompressionTypes.GZIP : CompressionTypes.None });
    messages = [];
  };
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const at = line.indexOf("\t");
    messages.push({ key: line.slice(0, at), value: line.slice(at + 1) });
    if (messages.length === 5000) await send();
  }
  if (messages.length) await send();
  await producer.disconnect();
} else {
  const consumer = kafka.consumer({ groupId: `kafkajs-${process.pid}-${Date.now()}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let left = Number(last);
  const done = new Promise((resolve) => {
    consumer.run({
      eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
        let out = "";
        for (const message of batch.messages) {
          out += `${batch.partition}\t${message.offset}\t${message.key}\t${message.value}\n`;
          resolveOffset(message.offset);
          left -= 1;
        }
        fs.writeSync(1, out);
        await heartbeat();
        if (left <= 0) resolve();
      },
    });
  });
  await done;
  await consumer.disconnect();
}
