'use strict';
// What a user did: a nested path, an object kept as JSON, a time in milliseconds.
const { Uuid } = require('cassandra-driver').types;

exports.insert = (keyspace) => `INSERT INTO ${keyspace}.user_events (user_id, event_id, event_type, payload, timestamp)
  VALUES (?, ?, ?, ?, ?)`;

exports.values = (m) => [m.user.id, Uuid.fromString(m.id), m.type.toLowerCase(), JSON.stringify(m.payload), new Date(m.ts)];
