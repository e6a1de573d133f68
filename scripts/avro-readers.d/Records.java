import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.avro.Conversions;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.avro.message.SchemaStore;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints the records of a topic as lines of field=value, decoded by Avro's BinaryMessageDecoder:
 * {@code java Records.java BROKERS SCHEMA_TOPIC TOPIC NUM_RECORDS [SCHEMA_FILE]}. The decoder finds a schema by the fingerprint
 * that Avro itself computes; the keys of the schema topic are not looked at. The file has the schema of dead letters, which is
 * not in that topic. records.py prints the same lines.
 */
public final class Records {
    /** In which the records have to be there. */
    private static final Duration DEADLINE = Duration.ofSeconds(30);

    public static void main(String[] arguments) throws IOException {
        String brokers = arguments[0], schemaTopic = arguments[1], topic = arguments[2];
        int numRecords = Integer.parseInt(arguments[3]);
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        long end = System.nanoTime() + DEADLINE.toNanos();
        List<byte[]> records = read(brokers, topic);
        while (records.size() < numRecords && System.nanoTime() < end) {
            records = read(brokers, topic);
        }
        SchemaStore.Cache store = new SchemaStore.Cache();
        List<Schema> schemas = new ArrayList<>();
        List<byte[]> texts = read(brokers, schemaTopic);
        if (arguments.length > 4) {
            texts.add(Files.readAllBytes(Path.of(arguments[4])));
        }
        for (byte[] text : texts) {
            Schema schema = new Schema.Parser().parse(new String(text, StandardCharsets.UTF_8));
            store.addSchema(schema);
            schemas.add(schema);
        }
        for (byte[] record : records) {
            out.println(decode(record, store, schemas));
        }
    }

    /** The values of all messages that the topic has now. */
    private static List<byte[]> read(String brokers, String topic) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        List<byte[]> values = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition()))
                    .collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (var message : consumer.poll(Duration.ofMillis(100))) {
                    if (message.value() != null) {
                        values.add(message.value());
                    }
                }
            }
        }
        return values;
    }

    /** The line of a record. A decoder resolves what was written into one schema: here, into the one that was written. */
    private static String decode(byte[] record, SchemaStore store, List<Schema> schemas) throws IOException {
        long fingerprint = ByteBuffer.wrap(record).order(ByteOrder.LITTLE_ENDIAN).getLong(2);
        Schema written = store.findByFingerprint(fingerprint);
        // Without it any schema will do: the decoder says that it misses one.
        Schema wanted = written != null ? written : schemas.get(0);
        GenericRecord decoded =
                new BinaryMessageDecoder<GenericRecord>(new GenericData(), wanted, store).decode(record);
        StringBuilder line = new StringBuilder(wanted.getFullName());
        append("", wanted, decoded, line);
        return line.toString();
    }

    /** Appends the single values inside a value, with their paths. */
    private static void append(String path, Schema schema, Object value, StringBuilder line) {
        switch (schema.getType()) {
            case RECORD -> schema.getFields().forEach(field -> append(
                    path.isEmpty() ? field.name() : path + "." + field.name(),
                    field.schema(),
                    ((GenericRecord) value).get(field.pos()),
                    line));
            case ARRAY -> {
                List<?> items = (List<?>) value;
                for (int index = 0; index < items.size(); index++) {
                    append(path + "[" + index + "]", schema.getElementType(), items.get(index), line);
                }
            }
            case UNION -> append(path, schema.getTypes().get(new GenericData().resolveUnion(schema, value)), value, line);
            default -> line.append(' ').append(path).append('=').append(text(schema, value));
        }
    }

    /**
     * A single value. A time is microseconds since 1970; a number with a fraction that is very large or small is
     * hexadecimal, because every language writes it in decimals in its own way.
     */
    private static String text(Schema schema, Object value) {
        if (schema.getLogicalType() instanceof LogicalTypes.TimestampMillis) {
            return Long.toString(1000 * (long) value);
        }
        if (schema.getLogicalType() instanceof LogicalTypes.Decimal decimal) {
            return new Conversions.DecimalConversion()
                    .fromBytes((ByteBuffer) value, schema, decimal)
                    .toPlainString();
        }
        if (value instanceof Float || value instanceof Double) {
            double number = ((Number) value).doubleValue();
            boolean isUsual = number == 0 || (Math.abs(number) >= 1e-3 && Math.abs(number) < 1e7);
            return isUsual ? Double.toString(number) : Double.toHexString(number);
        }
        if (value instanceof ByteBuffer bytes) {
            byte[] copy = new byte[bytes.remaining()];
            bytes.duplicate().get(copy);
            return HexFormat.of().formatHex(copy);
        }
        return String.valueOf(value);
    }
}
