// Golden bytes of Kafka's binary protocol, made by Apache Kafka's own serializers: for every message (requests, responses,
// headers, metadata records, group / transaction / share coordinator records) and every version, SAMPLES random messages.
// One JSON line each: {"name","type","apiKey","version","size","hex","json"}; "json" is Kafka's own JSON form of that message.
// Run:  kafka wire-golden [SAMPLES [SEED [NAME-REGEX]]]        (the script `kafka` beside this file)
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.*;
import com.fasterxml.jackson.databind.node.*;
import java.io.*;
import java.lang.reflect.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import java.util.jar.*;
import org.apache.kafka.common.protocol.*;

public class WireGolden {
    static final ObjectMapper JSON = new ObjectMapper().configure(JsonParser.Feature.ALLOW_COMMENTS, true);
    static Random rnd;

    static boolean in(JsonNode spec, short v) {
        String s = spec == null ? "none" : spec.asText();
        if (s.equals("none") || s.isEmpty()) return false;
        if (s.endsWith("+")) return v >= Short.parseShort(s.substring(0, s.length() - 1));
        int dash = s.indexOf('-');
        if (dash > 0) return v >= Short.parseShort(s.substring(0, dash)) && v <= Short.parseShort(s.substring(dash + 1));
        return v == Short.parseShort(s);
    }

    static String camel(String n) { // as the generated converters do: leading capitals become lower case
        int i = 0;
        while (i < n.length() && Character.isUpperCase(n.charAt(i))) i++;
        if (i == n.length()) return n.toLowerCase(Locale.ROOT);
        return n.substring(0, 1).toLowerCase(Locale.ROOT) + n.substring(1);
    }

    static String text() {
        String[] some = {"", "a", "topic-1", "é-ü-漢字", "x".repeat(130), "__consumer_offsets"};
        return some[rnd.nextInt(some.length)];
    }

    static JsonNode value(String type, JsonNode field, short v, Map<String, JsonNode> structs, boolean flexible, int depth) {
        if (type.startsWith("[]")) {
            ArrayNode a = JSON.createArrayNode();
            int n = depth > 2 ? rnd.nextInt(2) : rnd.nextInt(3);
            for (int i = 0; i < n; i++) a.add(value(type.substring(2), field, v, structs, flexible, depth + 1));
            return a;
        }
        switch (type) {
            case "bool": return BooleanNode.valueOf(rnd.nextBoolean());
            case "int8": return IntNode.valueOf((byte) rnd.nextInt());
            case "int16": return IntNode.valueOf((short) rnd.nextInt());
            case "uint16": return IntNode.valueOf(rnd.nextInt(65536));
            case "int32": return IntNode.valueOf(rnd.nextInt(4) == 0 ? rnd.nextInt(100) : rnd.nextInt());
            case "uint32": return LongNode.valueOf(rnd.nextLong() & 0xffffffffL);
            case "int64": return LongNode.valueOf(rnd.nextInt(4) == 0 ? rnd.nextInt(100) : rnd.nextLong());
            case "float64": return DoubleNode.valueOf(rnd.nextInt(1000) / 8.0);
            case "string": return TextNode.valueOf(text());
            case "uuid": return TextNode.valueOf(new org.apache.kafka.common.Uuid(rnd.nextLong(), rnd.nextLong()).toString());
            case "bytes": { byte[] b = new byte[rnd.nextInt(20)]; rnd.nextBytes(b); return BinaryNode.valueOf(b); }
            case "records": { byte[] b = new byte[rnd.nextInt(20)]; rnd.nextBytes(b); return BinaryNode.valueOf(b); }
            default: {
                JsonNode fields = field.has("fields") ? field.get("fields") : structs.get(type);
                return struct(fields, v, structs, flexible, depth + 1);
            }
        }
    }

    static ObjectNode struct(JsonNode fields, short v, Map<String, JsonNode> structs, boolean flexible, int depth) {
        ObjectNode o = JSON.createObjectNode();
        for (JsonNode f : fields) {
            boolean tagged = flexible && f.has("taggedVersions") && in(f.get("taggedVersions"), v);
            if (!in(f.get("versions"), v)) continue;
            if (tagged && rnd.nextInt(2) == 0) continue; // an absent tagged field keeps its default
            boolean nullable = f.has("nullableVersions") && in(f.get("nullableVersions"), v);
            JsonNode x = nullable && rnd.nextInt(3) == 0 ? NullNode.instance
                : value(f.get("type").asText(), f, v, structs, flexible, depth);
            o.set(camel(f.get("name").asText()), x);
        }
        return o;
    }

    public static void main(String[] args) throws Exception {
        int samples = args.length > 0 ? Integer.parseInt(args[0]) : 5;
        long seed = args.length > 1 ? Long.parseLong(args[1]) : 1;
        String only = args.length > 2 ? args[2] : ".*";
        Map<String, JsonNode> specs = new HashMap<>();
        TreeMap<String, String> converters = new TreeMap<>();
        for (String path : System.getProperty("java.class.path").split(File.pathSeparator)) {
            if (!path.endsWith(".jar")) continue;
            try (JarFile jar = new JarFile(path)) {
                for (JarEntry e : Collections.list(jar.entries())) {
                    String n = e.getName();
                    if (n.startsWith("common/") && n.endsWith(".json")) {
                        JsonNode spec = JSON.readTree(jar.getInputStream(e));
                        specs.put(spec.get("name").asText(), spec);
                    } else if (n.endsWith("JsonConverter.class") && n.indexOf('$') < 0)
                        converters.put(n.substring(0, n.length() - ".class".length()).replace('/', '.'), path);
                }
            }
        }
        PrintStream out = new PrintStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16), false, "UTF-8");
        int made = 0, refused = 0;
        for (String conv : converters.keySet()) {
            String simple = conv.substring(conv.lastIndexOf('.') + 1, conv.length() - "JsonConverter".length());
            JsonNode spec = specs.containsKey(simple) ? specs.get(simple)
                : simple.endsWith("Data") ? specs.get(simple.substring(0, simple.length() - 4)) : null;
            if (spec == null || !simple.matches("(" + only + ")(Data)?")) continue;
            Class<?> msgClass = Class.forName(conv.substring(0, conv.length() - "JsonConverter".length()));
            Class<?> convClass = Class.forName(conv);
            ApiMessage probe = (ApiMessage) msgClass.getDeclaredConstructor().newInstance();
            short lo = probe.lowestSupportedVersion(), hi = probe.highestSupportedVersion();
            if (lo > hi || hi < 0) continue;
            Method read = convClass.getMethod("read", JsonNode.class, short.class);
            Method write = convClass.getMethod("write", msgClass, short.class);
            Map<String, JsonNode> structs = new HashMap<>();
            if (spec.has("commonStructs")) for (JsonNode s : spec.get("commonStructs")) structs.put(s.get("name").asText(), s.get("fields"));
            collect(spec.get("fields"), structs);
            for (short v = lo; v <= hi; v++) {
                rnd = new Random(seed * 1_000_003 + simple.hashCode() * 31L + v);
                boolean flexible = spec.has("flexibleVersions") && in(spec.get("flexibleVersions"), v);
                for (int i = 0; i < samples; i++) {
                    try {
                        ApiMessage m = (ApiMessage) read.invoke(null, struct(spec.get("fields"), v, structs, flexible, 0), v);
                        ObjectSerializationCache cache = new ObjectSerializationCache();
                        int size = m.size(cache, v);
                        ByteBuffer buf = ByteBuffer.allocate(size);
                        m.write(new ByteBufferAccessor(buf), cache, v);
                        ObjectNode line = JSON.createObjectNode();
                        line.put("name", spec.get("name").asText()).put("type", spec.get("type").asText())
                            .put("apiKey", spec.has("apiKey") ? spec.get("apiKey").asInt() : -1).put("version", v).put("size", size)
                            .put("hex", HexFormat.of().formatHex(buf.array()));
                        line.set("json", (JsonNode) write.invoke(null, m, v));
                        out.println(line);
                        made++;
                    } catch (InvocationTargetException | RuntimeException e) {
                        refused++;
                        if (System.getenv("WIRE_GOLDEN_VERBOSE") != null) System.err.println(simple + " v" + v + ": " + (e.getCause() != null ? e.getCause() : e));
                    }
                }
            }
        }
        out.flush();
        System.err.println(made + " samples, " + refused + " refused by the serializer (a field that is not ignorable at that version)");
    }

    static void collect(JsonNode fields, Map<String, JsonNode> structs) {
        if (fields == null) return;
        for (JsonNode f : fields) if (f.has("fields") && f.get("fields").size() > 0) {
            String t = f.get("type").asText();
            structs.putIfAbsent(t.startsWith("[]") ? t.substring(2) : t, f.get("fields"));
            collect(f.get("fields"), structs);
        }
    }
}
