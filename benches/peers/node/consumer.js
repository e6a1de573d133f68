'use strict';
// kafkajs and cassandra-driver. A write is started for each message, MAX_IN_FLIGHT of them at a time: at the limit
// eachMessage waits for a free place. Only offsets below which every write is confirmed are committed, once a second.
const { Kafka, logLevel } = require('kafkajs');
const cassandra = require('cassandra-driver');

const { BROKER, CASSANDRA, JSON_TOPIC, GROUP, KEYSPACE, TABLE } = process.env;
const MAX_IN_FLIGHT = 500;
const MAX_RETRIES = 5;
const { consistencies, distance } = cassandra.types;
const { insert, values } = require(`./${TABLE}`);
const INSERT = insert(KEYSPACE);

const client = new cassandra.Client({
  contactPoints: [CASSANDRA],
  localDataCenter: 'datacenter1',
  queryOptions: { prepare: true, isIdempotent: true, consistency: consistencies.localQuorum },
  pooling: { coreConnectionsPerHost: { [distance.local]: 2 }, maxRequestsPerConnection: 2048 },
});
const kafka = new Kafka({ clientId: 'peer', brokers: [BROKER], logLevel: logLevel.ERROR });
const consumer = kafka.consumer({
  groupId: GROUP, sessionTimeout: 10000, maxBytesPerPartition: 1048576, minBytes: 1, maxWaitTimeInMs: 100,
});

const waiting = [];
const partitions = new Map(); // partition -> { next: first offset not confirmed, seen, confirmed: offsets above it, sent }
let inFlight = 0;

async function write(m) {
  const row = values(m);
  for (let tried = 0; ; tried++) {
    try {
      return await client.execute(INSERT, row);
    } catch (error) {
      if (tried >= MAX_RETRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** tried, 5000)));
    }
  }
}

async function eachMessage({ partition, message }) {
  const offset = Number(message.offset);
  let state = partitions.get(partition);
  if (!state) partitions.set(partition, state = { next: offset, seen: offset - 1, confirmed: new Set(), sent: -1 });
  if (offset <= state.seen) return; // fetched again
  const row = JSON.parse(message.value.toString());
  state.seen = offset;
  while (inFlight >= MAX_IN_FLIGHT) await new Promise((resolve) => waiting.push(resolve));
  inFlight++;
  const confirm = () => {
    state.confirmed.add(offset);
    while (state.confirmed.delete(state.next)) state.next++;
  };
  write(row)
    .then(confirm, (error) => console.error('not written until a restart:', error.message))
    .finally(() => {
      inFlight--;
      if (waiting.length) waiting.shift()();
    });
}

async function commit() {
  const offsets = [];
  for (const [partition, state] of partitions) {
    if (state.next <= state.sent) continue;
    offsets.push({ topic: JSON_TOPIC, partition, offset: String(state.next) });
    state.sent = state.next;
  }
  if (!offsets.length) return;
  await consumer.commitOffsets(offsets).catch((error) => {
    console.error('commit:', error.message);
    for (const state of partitions.values()) state.sent = -1;
  });
}

(async () => {
  await client.connect();
  await consumer.connect();
  consumer.on(consumer.events.CRASH, ({ payload }) => console.error('crash:', payload.error.message));
  consumer.on(consumer.events.REBALANCING, () => partitions.clear());
  await consumer.subscribe({ topic: JSON_TOPIC, fromBeginning: true });
  setInterval(commit, 1000);
  await consumer.run({ autoCommit: false, partitionsConsumedConcurrently: 16, eachMessage });
})();

process.on('SIGTERM', async () => {
  await commit();
  await consumer.disconnect().catch(() => {});
  process.exit(0);
});
