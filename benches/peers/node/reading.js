'use strict';
// A vehicle's reading, flat.
const { Long } = require('cassandra-driver').types;

const DAY_MS = 86400000;

exports.insert = (keyspace) => `INSERT INTO ${keyspace}.reading (device_id, bucket, event_time, sequence, received_at, version,
  speed, heading, lat, lon, fuel, odometer, status, fw, sat) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

exports.values = (m) => [m.device_id, new Date(m.event_time - (m.event_time % DAY_MS)), new Date(m.event_time),
  Long.fromNumber(m.sequence), new Date(m.received_at), m.version, m.speed, m.heading, m.lat, m.lon, m.fuel,
  m.odometer, m.status, m.fw, m.sat];
