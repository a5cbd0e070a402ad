// Judges pairs of schemas with Avro Java and compares with our verdicts: lines of JSON from
// `compat_pairs` on standard input. Prints each difference, those that are known with the reason that
// is in `KNOWN`, and last a line of counts. Run by scripts/avro-diff.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

public class CompatDiff {
    // The differences that are known, each with its reason.
    static final Map<String, String> KNOWN = new TreeMap<>(Map.of(
        "several",
        "Java's checker throws an exception as soon as the names of a reader's field fit several of the "
            + "writer's, even within a union's branch that is only tried, and even if they are one (an "
            + "alias that is the field's own name, or stands twice); Confluent's registry answers with an "
            + "error. We give a TYPE_MISMATCH at the field, let a union try its other branches, and count "
            + "one field once.",
        "forward reference",
        "Java 1.12 takes a name before its definition. The specification does not (\"Names\": a name must "
            + "be defined before it is used), nor did Java before 1.12, nor do we.",
        "redefined",
        "Java takes a second definition of a record within the first, for it compares them while neither "
            + "has fields. The specification forbids it (\"Names\"), and so do we.",
        "record name",
        "Java's checker refuses records of different names; its decoder reads them, in unions too by any "
            + "record whose fields fit (Resolver.java asks for names of enums and fixed only). Our decoder refuses "
            + "what the checker refuses, as the specification does, so the witness stands.",
        "alias twice",
        "Java's decoder gives a writer's field to one field of the reader only, where several have its "
            + "name as name or alias (Schema.applyAliases); Java's checker gives it to each, as our checker "
            + "and decoder do.",
        "alias of another",
        "Java's decoder renames every type of the writer that an alias in the reader's schema fits, "
            + "whatever kind it is of (Schema.applyAliases): a fixed of the reader's with the alias R "
            + "renames the writer's record R. Java's checker does not, nor do our checker and decoder.",
        "overflow",
        "Java's decoder overflows its stack over a record that holds itself without a union, list or map "
            + "between, wherever it stands in the schema (Symbol.flattenedSize). We decode what is "
            + "finite."));

    static final ObjectMapper JSON = new ObjectMapper();
    static final Map<String, Integer> counts = new TreeMap<>();
    static int unknown = 0;

    static void count(String what) {
        counts.merge(what, 1, Integer::sum);
    }

    static void count(String what, boolean counts) {
        if (counts) {
            count(what);
        }
    }

    static void difference(String what, JsonNode line, String ours, String javas) {
        unknown++;
        System.out.printf("DIFFERENCE %s%n  reader: %s%n  writer: %s%n  ours: %s%n  java: %s%n", what,
            line.get("reader").asText(), line.get("writer").asText(), ours, javas);
    }

    public static void main(String[] arguments) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String text = in.readLine(); text != null; text = in.readLine()) {
            judge(JSON.readTree(text));
        }
        counts.forEach((what, count) -> System.out.println(what + ": " + count));
        KNOWN.forEach((name, reason) -> {
            if (counts.containsKey("known difference, " + name)) {
                System.out.println("known difference, " + name + ": " + reason);
            }
        });
        System.out.printf("avro-diff: %d pairs, %d differences%n", counts.getOrDefault("pairs", 0), unknown);
        System.exit(unknown == 0 ? 0 : 1);
    }

    static void judge(JsonNode line) {
        Schema reader = parse(line, "reader");
        Schema writer = parse(line, "writer");
        if (reader == null || writer == null || !line.has("found")) {
            count("invalid pairs");
            return;
        }
        count("pairs");
        List<String> ours = ours(line);
        count(ours.isEmpty() ? "compatible" : "incompatible");
        List<String> javas = new ArrayList<>();
        try {
            var result = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult();
            for (var found : result.getIncompatibilities()) {
                javas.add(found.getType() + " " + found.getLocation() + " " + found.getMessage());
                count("reasons " + found.getType());
            }
        } catch (AvroRuntimeException error) {
            if (String.valueOf(error.getMessage()).contains("matches multiple fields")) {
                count("known difference, several");
                count("  of which we call compatible", ours.isEmpty());
            } else {
                difference("exception", line, ours.toString(), error.toString());
            }
            return;
        } catch (StackOverflowError error) {
            difference("overflow", line, ours.toString(), error.toString());
            return;
        }
        if (!ours.equals(javas)) {
            difference("verdict", line, ours.toString(), javas.toString());
        }
        if (line.has("witness")) {
            try {
                witness(line, reader, writer);
            } catch (StackOverflowError error) {
                count("known difference, overflow");
            }
        } else {
            count(ours.isEmpty() ? "no witness of a compatible pair"
                : "no witness: " + line.get("no_witness").asText().split(":")[0]);
        }
    }

    static List<String> ours(JsonNode line) {
        List<String> ours = new ArrayList<>();
        for (JsonNode found : line.get("found")) {
            ours.add(found.get("kind").asText() + " " + found.get("location").asText() + " "
                + found.get("message").asText());
        }
        return ours;
    }

    static Schema parse(JsonNode line, String side) {
        String error = line.has(side + "_error") ? line.get(side + "_error").asText() : null;
        try {
            Schema schema = new Schema.Parser().parse(line.get(side).asText());
            if (error == null) {
                return schema;
            }
            if (error.contains("Undefined name")) {
                count("known difference, forward reference");
            } else if (error.contains("Can't redefine")) {
                count("known difference, redefined");
            } else {
                difference("we do not parse the " + side, line, error, "parsed");
            }
        } catch (RuntimeException javas) {
            if (error == null) {
                difference("Java does not parse the " + side, line, "parsed", javas.toString());
            }
        }
        return null;
    }

    // Whether an alias of a named type is another named type's name.
    static boolean aliasOfAnother(Schema schema) {
        Set<String> names = new HashSet<>();
        Set<String> aliases = new HashSet<>();
        names(schema, names, aliases);
        return aliases.stream().anyMatch(names::contains);
    }

    // Collects the full names of the schema's named types, and the aliases of each that are not its own name.
    static void names(Schema schema, Set<String> names, Set<String> aliases) {
        switch (schema.getType()) {
            case ARRAY -> names(schema.getElementType(), names, aliases);
            case MAP -> names(schema.getValueType(), names, aliases);
            case UNION -> schema.getTypes().forEach(branch -> names(branch, names, aliases));
            case RECORD, ENUM, FIXED -> {
                if (!names.add(schema.getFullName())) {
                    return;
                }
                schema.getAliases().stream().filter(alias -> !alias.equals(schema.getFullName()))
                    .forEach(aliases::add);
                if (schema.getType() == Schema.Type.RECORD) {
                    schema.getFields().forEach(field -> names(field.schema(), names, aliases));
                }
            }
            default -> { }
        }
    }

    // Whether some record has fields that claim one name.
    static boolean claimsTwice(Schema schema, Set<String> seen) {
        switch (schema.getType()) {
            case ARRAY:
                return claimsTwice(schema.getElementType(), seen);
            case MAP:
                return claimsTwice(schema.getValueType(), seen);
            case UNION:
                return schema.getTypes().stream().anyMatch(branch -> claimsTwice(branch, seen));
            case RECORD:
                if (!seen.add(schema.getFullName())) {
                    return false;
                }
                Set<String> names = new HashSet<>();
                return schema.getFields().stream().anyMatch(field -> {
                    Set<String> claimed = new HashSet<>(field.aliases());
                    claimed.add(field.name());
                    return !claimed.stream().allMatch(names::add) || claimsTwice(field.schema(), seen);
                });
            default:
                return false;
        }
    }

    // Java must read the witness with the writer's schema, find it in its JSON form, and be unable to
    // read it with the reader's.
    static void witness(JsonNode line, Schema reader, Schema writer) {
        count("witnesses");
        String hex = line.get("witness").get("hex").asText();
        byte[] bytes = new byte[hex.length() / 2];
        for (int place = 0; place < bytes.length; place++) {
            bytes[place] = (byte) Integer.parseInt(hex.substring(2 * place, 2 * place + 2), 16);
        }
        try {
            read(writer, writer, bytes);
        } catch (Exception error) {
            difference("witness is not the writer's", line, hex, error.toString());
            return;
        }
        try {
            String json = line.get("witness").get("json").asText();
            var decoder = DecoderFactory.get().jsonDecoder(writer, json);
            var again = new ByteArrayOutputStream();
            BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(again, null);
            Object datum = new GenericDatumReader<Object>(writer).read(null, decoder);
            new GenericDatumWriter<Object>(writer).write(datum, encoder);
            encoder.flush();
            if (!java.util.Arrays.equals(again.toByteArray(), bytes)) {
                difference("witness has other JSON", line, hex, json);
            }
        } catch (Exception error) {
            difference("witness's JSON is not read", line, line.get("witness").get("json").asText(),
                error.toString());
        }
        try {
            Object datum = read(writer, reader, bytes);
            String refusal = line.get("witness").get("refusal").asText();
            boolean inUnion = ours(line).stream().anyMatch(found -> found.endsWith("writer type: RECORD"));
            if (inUnion || refusal.matches("(?s).*(cannot take|takes) the writer's record.*")) {
                count("known difference, record name");
                return;
            }
            if (claimsTwice(reader, new HashSet<>())) {
                count("known difference, alias twice");
                return;
            }
            if (aliasOfAnother(reader)) {
                count("known difference, alias of another");
                return;
            }
            difference("witness is read", line, line.get("witness").get("json").asText(), String.valueOf(datum));
        } catch (Exception error) {
            count("witnesses that Java refuses");
        }
    }

    static Object read(Schema writer, Schema reader, byte[] bytes) throws Exception {
        var decoder = DecoderFactory.get().binaryDecoder(bytes, null);
        return new GenericDatumReader<Object>(writer, reader).read(null, decoder);
    }
}
