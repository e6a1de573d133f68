'use strict';
// Sends events as JSON with kafkajs, 500 at a time.
//   node produce.js BROKER TOPIC [RUN] [COUNT] [USERS] [LEDGER]
// LEDGER: a file that gets a line for each event that Kafka has confirmed, for verify.py.
const { createHash } = require('crypto');
const { appendFileSync } = require('fs');
const { Kafka, logLevel } = require('kafkajs');

const [broker, topic, run = 'node', count = '1000', users = '100', ledger] = process.argv.slice(2);
const BATCH = 500;
const TYPES = ['Click', 'View', 'Purchase', 'Search', 'SignIn'];
const WORDS = ['tank', 'pump', 'Rohr', 'größe', '日本', '"quoted"', 'tab\there', '🚰', ''];

// Event number N of a run is always the same.
function event(number) {
  const dice = createHash('sha256').update(`${run}/${number}`).digest();
  const hex = dice.toString('hex');
  return {
    id: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
    type: TYPES[dice[16] % TYPES.length],
    user: { id: `user-${dice.readUInt32BE(17) % Number(users)}`, name: WORDS[dice[21] % WORDS.length] },
    payload: {
      page: `/p/${dice.readUInt16BE(22) % 1000}`,
      items: Array.from({ length: dice[24] % 3 }, (_, at) => ({ sku: dice.readUInt32BE(25 + at), count: 1 + (dice[29] % 4) })),
      price: (dice.readUInt32BE(28) % 100000) / 100,
      note: WORDS[dice[31] % WORDS.length],
      coupon: null,
    },
    ts: 1780000000000 + number,
  };
}

async function main() {
  const producer = new Kafka({ clientId: 'user-events', brokers: [broker], logLevel: logLevel.ERROR }).producer();
  await producer.connect();
  for (let first = 0; first < Number(count); first += BATCH) {
    const events = Array.from({ length: Math.min(BATCH, Number(count) - first) }, (_, at) => event(first + at));
    const messages = events.map((made) => ({ key: made.user.id, value: JSON.stringify(made) }));
    await producer.send({ topic, acks: -1, messages });
    if (ledger) appendFileSync(ledger, messages.map(({ value }) => `${value}\n`).join(''));
  }
  await producer.disconnect();
  console.log(`${count} events are confirmed`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
