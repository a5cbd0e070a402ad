// Uses a registry as its users do from Node: Confluent's own client and its Avro serializers.
//
//     check.js REGISTRY [CHECK...]
//
// Prints a line for each check, `ok NAME` or `FAILED NAME: why`, or those named alone; ends with 1 if
// one failed. Each has subjects of its own, so that one that fails disturbs no other.

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const {
  AvroDeserializer,
  AvroSerializer,
  Compatibility,
  HeaderSchemaIdSerializer,
  RestError,
  RuleMode,
  SchemaRegistryClient,
  SerdeType,
} = require("@confluentinc/schemaregistry");

const RUN = randomUUID().slice(0, 8);
const [registry, ...wanted] = process.argv.slice(2);

// A client that has nothing in its caches.
const client = () =>
  new SchemaRegistryClient({ baseURLs: [registry], cacheCapacity: 1000, maxRetries: 0 });

// A record's text: each field a name with its type, and maybe its default.
const record = (name, ...fields) =>
  JSON.stringify({
    type: "record",
    name,
    namespace: "shop",
    fields: fields.map(([name, type, ...rest]) =>
      rest.length ? { name, type, default: rest[0] } : { name, type }),
  });

const avro = (schema, more = {}) => ({ schema, schemaType: "AVRO", ...more });

const ORDER = record("Order", ["id", "long"], ["note", "string"]);
const ORDER_WITH_PRICE = record(
  "Order", ["id", "long"], ["note", "string"], ["price", ["null", "double"], null]);
const ORDER_OF_TEXT = record("Order", ["id", "string"], ["note", "string"]);
const ADDRESS = record("Address", ["street", "string"]);
const CUSTOMER = record("Customer", ["name", "string"], ["address", "Address"]);

const same = (left, right) => assert.deepEqual(JSON.parse(left), JSON.parse(right));

// What the client makes of an error: its status and one of these codes.
async function refused(status, codes, call) {
  const given = await call().then(
    (value) => assert.fail(`not refused, but ${JSON.stringify(value)}`),
    (error) => error);
  assert.ok(given instanceof RestError, String(given));
  assert.equal(given.status, status, String(given));
  assert.ok(codes.includes(given.errorCode), `${given.errorCode}: ${given.message}`);
}

const described = (major) => ({
  tags: { "shop.Order.note": ["PII"] },
  properties: { owner: "shop", major },
  sensitive: ["owner"],
});

const CHECKS = {
  async registers_and_reads_back(name) {
    const subject = `${name}-value`;
    const id = await client().register(subject, avro(ORDER));
    assert.ok(id >= 1);
    assert.equal(await client().register(subject, avro(ORDER)), id);
    assert.equal((await client().registerFullResponse(subject, avro(ORDER))).id, id);
    same((await client().getBySubjectAndId(subject, id)).schema, ORDER);
    assert.equal(await client().getId(subject, avro(ORDER)), id);
    const full = await client().getIdFullResponse(subject, avro(ORDER));
    assert.equal(full.id, id);
    assert.equal(await client().getVersion(subject, avro(ORDER)), 1);
    assert.ok((await client().getAllSubjects()).includes(subject));
    await refused(404, [40403], () => client().getBySubjectAndId(subject, 2 ** 31 - 1));
  },

  async evolves_and_is_refused(name) {
    const subject = `${name}-value`;
    const first = await client().register(subject, avro(ORDER));
    const second = await client().register(subject, avro(ORDER_WITH_PRICE));
    assert.notEqual(first, second);
    await refused(409, [409, 40901], () => client().register(subject, avro(ORDER_OF_TEXT)));
    await refused(422, [42201], () => client().register(subject, avro("{}")));
    assert.deepEqual(await client().getAllVersions(subject), [1, 2]);
    const latest = await client().getLatestSchemaMetadata(subject);
    assert.deepEqual([latest.id, latest.version, latest.subject], [second, 2, subject]);
    assert.equal((await client().getSchemaMetadata(subject, 1)).id, first);
    await refused(404, [40402], () => client().getSchemaMetadata(subject, 3));
    await refused(404, [40401], () => client().getLatestSchemaMetadata(`${name}-none`));
    await refused(404, [40403], () => client().getId(subject, avro(ORDER_OF_TEXT)));
  },

  async checks_compatibility(name) {
    const subject = `${name}-value`;
    await client().register(subject, avro(ORDER));
    assert.equal(await client().testSubjectCompatibility(subject, avro(ORDER_WITH_PRICE)), true);
    assert.equal(await client().testSubjectCompatibility(subject, avro(ORDER_OF_TEXT)), false);
    assert.equal(await client().testCompatibility(subject, 1, avro(ORDER_WITH_PRICE)), true);
    assert.equal(await client().testCompatibility(subject, 1, avro(ORDER_OF_TEXT)), false);
  },

  async levels(name) {
    const subject = `${name}-value`;
    assert.equal(await client().getDefaultCompatibility(), "BACKWARD");
    await refused(404, [40408], () => client().getCompatibility(subject));
    for (const level of Object.values(Compatibility)) {
      await client().updateCompatibility(subject, level);
      assert.equal(await client().getCompatibility(subject), level);
      await client().updateConfig(subject, { compatibility: level });
      assert.equal((await client().getConfig(subject)).compatibilityLevel, level);
    }
    await client().updateDefaultCompatibility(Compatibility.FULL);
    assert.equal((await client().getDefaultConfig()).compatibilityLevel, "FULL");
    await client().updateDefaultConfig({ compatibility: Compatibility.BACKWARD });
    assert.equal(await client().getDefaultCompatibility(), "BACKWARD");
  },

  async deletes(name) {
    const subject = `${name}-value`;
    for (const text of [ORDER, ORDER_WITH_PRICE]) await client().register(subject, avro(text));
    await refused(404, [40407], () => client().deleteSubjectVersion(subject, 1, true));
    assert.equal(await client().deleteSubjectVersion(subject, 1), 1);
    await refused(404, [40406], () => client().deleteSubjectVersion(subject, 1));
    assert.equal((await client().getSchemaMetadata(subject, 1, true)).version, 1);
    await refused(404, [40405], () => client().deleteSubject(subject, true));
    assert.deepEqual(await client().deleteSubject(subject), [2]);
    assert.deepEqual(await client().deleteSubject(subject, true), [1, 2]);
    await refused(404, [40401], () => client().getAllVersions(subject));
  },

  async references(name) {
    const [address, customer] = [`${name}-address`, `${name}-value`];
    await client().register(address, avro(ADDRESS));
    const references = [{ name: "shop.Address", subject: address, version: 1 }];
    const id = await client().register(customer, avro(CUSTOMER, { references }));
    assert.deepEqual((await client().getBySubjectAndId(customer, id)).references, references);
    await refused(422, [42206], () => client().deleteSubject(address));
    const quiet = { autoRegisterSchemas: false, useLatestVersion: true };
    const serializer = new AvroSerializer(client(), SerdeType.VALUE, quiet);
    const value = { name: "Ada", address: { street: "Long Street" } };
    const bytes = await serializer.serialize(name, value);
    const deserializer = new AvroDeserializer(client(), SerdeType.VALUE, {});
    plain(await deserializer.deserialize(name, bytes), value);
  },

  async serializes_and_reads_back(name) {
    await client().register(`${name}-value`, avro(ORDER));
    const quiet = { autoRegisterSchemas: false, useLatestVersion: true };
    const older = new AvroSerializer(client(), SerdeType.VALUE, quiet);
    const first = await older.serialize(name, { id: 1, note: "a" });
    assert.equal(first[0], 0);
    const id = await client().register(`${name}-value`, avro(ORDER_WITH_PRICE));
    const newer = new AvroSerializer(client(), SerdeType.VALUE, quiet);
    const second = await newer.serialize(name, { id: 2, note: "b", price: 2.5 });
    assert.equal(second.readInt32BE(1), id);
    const reader = new AvroDeserializer(client(), SerdeType.VALUE, {});
    plain(await reader.deserialize(name, first), { id: 1, note: "a" });
    plain(await reader.deserialize(name, second), { id: 2, note: "b", price: 2.5 });
    const latest = new AvroDeserializer(client(), SerdeType.VALUE, { useLatestVersion: true });
    plain(await latest.deserialize(name, first), { id: 1, note: "a", price: null });
  },

  async registers_by_serializing(name) {
    const serializer = new AvroSerializer(client(), SerdeType.VALUE, { autoRegisterSchemas: true });
    const bytes = await serializer.serialize(name, { note: "a" });
    assert.deepEqual(await client().getAllVersions(`${name}-value`), [1]);
    const reader = new AvroDeserializer(client(), SerdeType.VALUE, {});
    plain(await reader.deserialize(name, bytes), { note: "a" });
  },

  async metadata(name) {
    const subject = `${name}-value`;
    const first = await client().register(subject, avro(ORDER, { metadata: described("1") }));
    await client().register(subject, avro(ORDER_WITH_PRICE, { metadata: described("2") }));
    const latest = await client().getLatestSchemaMetadata(subject);
    assert.deepEqual(latest.metadata, described("2"));
    const found = await client().getLatestWithMetadata(subject, { major: "1", owner: "shop" });
    assert.equal(found.id, first);
    await refused(404, [40403], () => client().getLatestWithMetadata(subject, { major: "3" }));
  },

  async rule_sets(name) {
    const rule = {
      name: "long", doc: "Ids are positive.", kind: "CONDITION", mode: RuleMode.WRITE, type: "CEL",
      tags: ["PII"], params: { a: "b" }, expr: "message.id > 0", onSuccess: "NONE",
      onFailure: "ERROR", disabled: false,
    };
    await client().register(`${name}-value`, avro(ORDER, { ruleSet: { domainRules: [rule] } }));
    const latest = await client().getLatestSchemaMetadata(`${name}-value`);
    assert.deepEqual(latest.ruleSet.domainRules, [rule]);
  },

  async guids(name) {
    const subject = `${name}-value`;
    await client().register(subject, avro(ORDER));
    const { guid } = await client().getLatestSchemaMetadata(subject);
    assert.match(String(guid), /^[0-9a-f-]{36}$/);
    same((await client().getByGuid(guid)).schema, ORDER);
    await refused(404, [40403], () => client().getByGuid(randomUUID()));
    const conf = {
      autoRegisterSchemas: false, useLatestVersion: true,
      schemaIdSerializer: HeaderSchemaIdSerializer,
    };
    const serializer = new AvroSerializer(client(), SerdeType.VALUE, conf);
    const headers = {};
    const bytes = await serializer.serialize(name, { id: 1, note: "a" }, headers);
    const reader = new AvroDeserializer(client(), SerdeType.VALUE, {});
    plain(await reader.deserialize(name, bytes, headers), { id: 1, note: "a" });
  },

  async contexts(name) {
    const subject = `:.n${RUN}:${name}-value`;
    const id = await client().register(subject, avro(ORDER));
    same((await client().getBySubjectAndId(subject, id)).schema, ORDER);
    assert.equal((await client().getLatestSchemaMetadata(subject)).subject, subject);
    await refused(404, [40401], () => client().getAllVersions(`${name}-value`));
  },

  async configurations(name) {
    const subject = `${name}-value`;
    const config = {
      compatibility: Compatibility.BACKWARD, compatibilityGroup: "major", normalize: true,
      defaultMetadata: { properties: { owner: "shop" } },
    };
    await client().updateConfig(subject, config);
    const read = await client().getConfig(subject);
    assert.equal(read.compatibilityGroup, "major");
    assert.equal(read.normalize, true);
    assert.deepEqual(read.defaultMetadata, config.defaultMetadata);
    await client().register(subject, avro(ORDER, { metadata: described("1") }));
    await client().register(subject, avro(ORDER_OF_TEXT, { metadata: described("2") }));
  },
};

// Records that avsc reads have a class of their own.
function plain(read, expected) {
  assert.deepEqual(JSON.parse(JSON.stringify(read)), expected);
}

async function main() {
  let failed = false;
  for (const [name, check] of Object.entries(CHECKS)) {
    if (wanted.length && !wanted.includes(name)) continue;
    try {
      await check(`${RUN}.${name}`);
      console.log(`ok ${name}`);
    } catch (error) {
      failed = true;
      const at = String(error.stack).split("\n").find((line) => line.includes(__filename)) ?? "";
      console.log(`FAILED ${name}: ${String(error).replaceAll("\n", " ")} (${at.trim()})`);
    }
  }
  process.exit(failed ? 1 : 0);
}

if (registry === undefined) {
  console.error("check.js REGISTRY [CHECK...]");
  process.exit(2);
}
main();
