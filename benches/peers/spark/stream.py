"""Spark Structured Streaming with its Kafka source and Cassandra connector: foreachBatch, checkpoints, 32 concurrent
writes of 64-row batches, micro-batches of at most 300,000 messages."""

import os
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, expr, from_json

env = os.environ
host, port = env["CASSANDRA"].split(":")
jars = [str(jar) for jar in sorted(Path(env["SPARK_PEER_HOME"], "jars").iterdir()) if not jar.name.startswith("scala-library")]
settings = {
    "spark.jars": ",".join(jars),
    "spark.ui.enabled": "false",
    "spark.driver.memory": "2g",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.cassandra.connection.host": host,
    "spark.cassandra.connection.port": port,
    "spark.cassandra.output.consistency.level": "LOCAL_QUORUM",
    "spark.cassandra.output.concurrent.writes": "32",
    "spark.cassandra.output.batch.size.rows": "64",
    "spark.sql.session.timeZone": "UTC",
}
builder = SparkSession.builder.master("local[2]").appName("peer")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("WARN")

# Of each table the schema of what is read, what has to be there, and the columns that are made of it.
SAME = ["sequence", "version", "speed", "heading", "lat", "lon", "fuel", "odometer", "status", "fw", "sat"]
TABLES = {
    "reading": (
        "device_id string, event_time bigint, sequence bigint, received_at bigint, version int, speed double, heading double, "
        "lat double, lon double, fuel double, odometer double, status string, fw string, sat int",
        "device_id",
        [
            "m.device_id",
            expr("timestamp_millis(m.event_time div 86400000 * 86400000)").alias("bucket"),
            expr("timestamp_millis(m.event_time)").alias("event_time"),
            expr("timestamp_millis(m.received_at)").alias("received_at"),
            *["m." + name for name in SAME],
        ],
    ),
    # A field of type string that is an object is the object's JSON.
    "user_events": (
        "id string, type string, user struct<id: string>, payload string, ts bigint",
        "id",
        [
            expr("m.user.id").alias("user_id"),
            expr("m.id").alias("event_id"),
            expr("lower(m.type)").alias("event_type"),
            "m.payload",
            expr("timestamp_millis(m.ts)").alias("timestamp"),
        ],
    ),
}
SCHEMA, NEEDED, COLUMNS = TABLES[env["TABLE"]]
rows = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", env["BROKER"])
    .option("subscribe", env["JSON_TOPIC"])
    .option("startingOffsets", "earliest")
    .option("maxOffsetsPerTrigger", "300000")
    .load()
    .select(from_json(col("value").cast("string"), SCHEMA).alias("m"))
    .where(f"m.{NEEDED} is not null")  # what does not parse is null, and dropped
    .select(*COLUMNS)
)


def save(batch, _number):
    batch.write.format("org.apache.spark.sql.cassandra").mode("append").options(keyspace=env["KEYSPACE"], table=env["TABLE"]).save()


rows.writeStream.foreachBatch(save).option("checkpointLocation", env["RUN_DIR"] + "/checkpoint").start().awaitTermination()
