import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.apache.kafka.streams.state.Stores;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;

/**
 * The job of Forbear's throughput benchmark on Kafka Streams: five rules over each customer's ledger, exactly once, a verdict
 * and a decision record for each intent, the ledger in RocksDB with a changelog.
 *
 * <p>Written to be fast where Streams lets one be: the Processor API, bytes as they come (no objects for records or state), a
 * streaming parser, one store access to read and one to write, the store's cache on, one thread, no logging.
 */
public final class StreamsPeer {
    private static final long DAY_MS = 86_400_000L;
    private static final long WEEK_MS = 7 * DAY_MS;
    private static final long MONTH_MS = 30 * DAY_MS;
    private static final int WEEK_CAP = 4;
    private static final int OTHER_CAPS = 100_000;
    /** Instant of the approval, state, hash of the intent's id, hash of the division. */
    private static final int CONTACT_BYTES = 8 + 1 + 8 + 4;
    /** Instant of the newest complaint. */
    private static final int HEAD_BYTES = 8;
    private static final ZoneId ZONE = ZoneId.of("America/New_York");
    private static final JsonFactory JSON = new JsonFactory();

    private StreamsPeer() {}

    public static void main(String[] arguments) throws InterruptedException {
        String bootstrap = arguments[0];
        String application = arguments[1];
        String intents = arguments[2];
        String engagement = arguments[3];
        String prefix = arguments[4];
        String state = arguments[5];
        String commitIntervalMs = arguments[6];

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, commitIntervalMs);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1");
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "67108864");
        settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Tuned.class.getName());
        settings.put(StreamsConfig.METRICS_RECORDING_LEVEL_CONFIG, "INFO");
        settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "5000");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), "4194304");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "5");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), "262144");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), "134217728");

        Topology topology = new Topology();
        topology.addSource("intents", new ByteArrayDeserializer(), new ByteArrayDeserializer(), intents);
        topology.addSource("engagement", new ByteArrayDeserializer(), new ByteArrayDeserializer(), engagement);
        topology.addProcessor("judge", Judge::new, "intents");
        topology.addProcessor("apply", Apply::new, "engagement");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.persistentKeyValueStore("ledger"), Serdes.Bytes(), Serdes.ByteArray())
                        .withCachingEnabled()
                        .withLoggingEnabled(Map.of()),
                "judge",
                "apply");
        ByteArraySerializer bytes = new ByteArraySerializer();
        topology.addSink("approved", prefix + "approved.email", bytes, bytes, "judge");
        topology.addSink("suppressed", prefix + "suppressed.email", bytes, bytes, "judge");
        topology.addSink("decisions", prefix + "decisions", bytes, bytes, "judge");

        KafkaStreams streams = new KafkaStreams(topology, settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        Thread.currentThread().join();
    }

    /** What is read of a message. */
    private static final class Message {
        String id = "";
        String channel = "";
        String division = "";
        String messageClass = "";
        String type = "";
        String intentId = "";

        static Message parse(byte[] value) {
            Message message = new Message();
            try (JsonParser parser = JSON.createParser(value)) {
                parser.nextToken();
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    String name = parser.currentName();
                    JsonToken token = parser.nextToken();
                    if (token != JsonToken.VALUE_STRING) {
                        parser.skipChildren();
                        continue;
                    }
                    switch (name) {
                        case "intent_id" -> message.intentId = parser.getText();
                        case "event_id" -> message.id = parser.getText();
                        case "channel" -> message.channel = parser.getText();
                        case "division" -> message.division = parser.getText();
                        case "class" -> message.messageClass = parser.getText();
                        case "type" -> message.type = parser.getText();
                        default -> { }
                    }
                }
            } catch (IOException error) {
                throw new IllegalArgumentException("a message that is not JSON", error);
            }
            return message;
        }
    }

    private static long hash(String id) {
        long hash = 0xcbf29ce484222325L;
        for (int index = 0; index < id.length(); index++) {
            hash = (hash ^ id.charAt(index)) * 0x100000001b3L;
        }
        return hash;
    }

    /** Judges an intent against the ledger. */
    private static final class Judge implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<Bytes, byte[]> ledgers;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            this.ledgers = context.getStateStore("ledger");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Message intent = Message.parse(record.value());
            long now = context.currentSystemTimeMs();
            Bytes key = Bytes.wrap(record.key());
            byte[] ledger = ledgers.get(key);
            String rule = broken(ledger, now, intent.division.hashCode());
            RecordMetadata source = context.recordMetadata().orElseThrow();
            String decision = source.topic() + "/" + source.partition() + "/" + source.offset() + "/0";
            String decidedAt = Instant.ofEpochMilli(now).toString();
            Headers headers = new RecordHeaders();
            record.headers().forEach(headers::add);
            headers.add("forbear-decision-id", decision.getBytes(StandardCharsets.UTF_8));
            headers.add("forbear-decided-at", decidedAt.getBytes(StandardCharsets.UTF_8));
            headers.add("forbear-policy", "bench@0123456789ab".getBytes(StandardCharsets.UTF_8));
            if (rule == null) {
                ledgers.put(key, withContact(ledger, now, intent));
            } else {
                headers.add("forbear-reason", "cap".getBytes(StandardCharsets.UTF_8));
                headers.add("forbear-rule", rule.getBytes(StandardCharsets.UTF_8));
            }
            String verdict = rule == null ? "approved" : "suppressed";
            context.forward(new Record<>(record.key(), record.value(), now, headers), verdict);
            context.forward(
                    new Record<>(record.key(), decisionRecord(intent, record.key(), decision, decidedAt, verdict, source), now),
                    "decisions");
        }

        /** The rule that the intent would break; none: it passes. */
        private static String broken(byte[] ledger, long now, int division) {
            ZonedDateTime local = Instant.ofEpochMilli(now).atZone(ZONE);
            if (local.getHour() > 23) {
                return "hours";
            }
            if (ledger == null) {
                return null;
            }
            ByteBuffer buffer = ByteBuffer.wrap(ledger);
            if (now - buffer.getLong(0) < 90 * DAY_MS) {
                return "complaint";
            }
            long today = LocalDate.from(local).atStartOfDay(ZONE).toInstant().toEpochMilli();
            int week = 0;
            int day = 0;
            int month = 0;
            for (int at = ledger.length - CONTACT_BYTES; at >= HEAD_BYTES; at -= CONTACT_BYTES) {
                long contact = buffer.getLong(at);
                if (contact <= now - MONTH_MS) {
                    break;
                }
                if (ledger[at + 8] < 2) {
                    week += contact > now - WEEK_MS ? 1 : 0;
                    day += contact >= today ? 1 : 0;
                    month += buffer.getInt(at + 17) == division ? 1 : 0;
                }
            }
            if (week >= WEEK_CAP) {
                return "week";
            }
            if (day >= OTHER_CAPS) {
                return "day";
            }
            return month >= OTHER_CAPS ? "division" : null;
        }

        private static byte[] withContact(byte[] ledger, long now, Message intent) {
            int length = ledger == null ? HEAD_BYTES : ledger.length;
            ByteBuffer grown = ByteBuffer.allocate(length + CONTACT_BYTES);
            if (ledger == null) {
                grown.putLong(0);
            } else {
                grown.put(ledger);
            }
            grown.putLong(now).put((byte) 0).putLong(hash(intent.intentId)).putInt(intent.division.hashCode());
            return grown.array();
        }

        private static byte[] decisionRecord(
                Message intent, byte[] customer, String decision, String decidedAt, String verdict, RecordMetadata source) {
            StringBuilder text = new StringBuilder(400);
            text.append("{\"v\":1,\"decision_id\":\"").append(decision)
                    .append("\",\"intent_id\":\"").append(intent.intentId)
                    .append("\",\"customer_id\":\"").append(new String(customer, StandardCharsets.UTF_8))
                    .append("\",\"verdict\":\"").append(verdict)
                    .append("\",\"channel\":\"").append(intent.channel)
                    .append("\",\"division\":\"").append(intent.division)
                    .append("\",\"class\":\"").append(intent.messageClass)
                    .append("\",\"decided_at\":\"").append(decidedAt)
                    .append("\",\"policy\":\"bench@0123456789ab\",\"source\":{\"topic\":\"").append(source.topic())
                    .append("\",\"partition\":").append(source.partition())
                    .append(",\"offset\":").append(source.offset()).append("}}");
            return text.toString().getBytes(StandardCharsets.UTF_8);
        }
    }

    /** Applies what customers did. */
    private static final class Apply implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<Bytes, byte[]> ledgers;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            this.ledgers = context.getStateStore("ledger");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            Message event = Message.parse(record.value());
            Bytes key = Bytes.wrap(record.key());
            byte[] ledger = ledgers.get(key);
            if (ledger == null) {
                ledger = new byte[HEAD_BYTES];
            }
            if (event.type.equals("complained")) {
                ByteBuffer.wrap(ledger).putLong(0, context.currentSystemTimeMs());
            } else {
                mark(ledger, hash(event.intentId));
            }
            ledgers.put(key, ledger);
        }

        private static void mark(byte[] ledger, long intent) {
            ByteBuffer buffer = ByteBuffer.wrap(ledger);
            for (int at = ledger.length - CONTACT_BYTES; at >= HEAD_BYTES; at -= CONTACT_BYTES) {
                if (buffer.getLong(at + 9) == intent) {
                    ledger[at + 8] = 1;
                    return;
                }
            }
        }
    }

    /** One cache for all partitions, whole filters, memtables that are not flushed every second. */
    public static final class Tuned implements RocksDBConfigSetter {
        private static final LRUCache CACHE = new LRUCache(256L << 20);

        @Override
        public void setConfig(String store, Options options, Map<String, Object> settings) {
            BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
            table.setBlockCache(CACHE);
            table.setCacheIndexAndFilterBlocks(true);
            options.setTableFormatConfig(table);
            options.setWriteBufferSize(32L << 20);
            options.setMaxWriteBufferNumber(3);
        }

        @Override
        public void close(String store, Options options) {}
    }
}
