//! Schemas that refer to other schemas.

use serde_json::{Value, json};

use crate::server::{Server, record};

fn address() -> String {
    r#"{"type":"record","name":"Address","namespace":"shop","fields":[{"name":"city","type":"string"}]}"#
        .to_owned()
}

fn customer(fields: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Customer","namespace":"shop","fields":[{{"name":"home","type":"shop.Address"}}{fields}]}}"#
    )
}

fn with_address(schema: &str, version: i64) -> Value {
    json!({
        "schema": schema,
        "references": [{"name": "shop.Address", "subject": "address", "version": version}],
    })
}

async fn filled() -> Server {
    let server = Server::start().await;
    assert_eq!(server.register("address", &address()).await, 1);
    let body = with_address(&customer(""), 1);
    assert_eq!(server.post("/subjects/customer/versions", body).await.ok()["id"], json!(2));
    server
}

#[tokio::test]
async fn a_schema_with_references_is_kept_and_answered_with_them() {
    let server = filled().await;
    let references = json!([{"name": "shop.Address", "subject": "address", "version": 1}]);
    let version = server.get("/subjects/customer/versions/1").await.ok();
    assert_eq!(version["references"], references);
    let names: Vec<_> = version.as_object().unwrap().keys().collect();
    assert_eq!(names, ["subject", "version", "id", "guid", "references", "schema", "ts"]);
    let schema = server.get("/schemas/ids/2").await.ok();
    assert_eq!(schema["references"], references);
    let text = schema["schema"].as_str().unwrap();
    assert!(!text.contains("city"), "the reference is not written out: {text}");

    let found = server.post("/subjects/customer", with_address(&customer(""), 1)).await.ok();
    assert_eq!((&found["id"], &found["references"]), (&json!(2), &references));
    let again = server.post("/subjects/customer/versions", with_address(&customer(""), -1)).await;
    assert_eq!(again.ok()["id"], json!(2), "-1 is the latest version");
    let server = server.restart().await;
    assert_eq!(server.get("/schemas/ids/2").await.ok(), schema);
}

#[tokio::test]
async fn the_same_schema_with_its_references_written_out_is_found() {
    let server = filled().await;
    let whole = customer("").replace("\"shop.Address\"", &address());
    let found = server.post("/subjects/customer", json!({"schema": whole})).await.ok();
    assert_eq!(found["id"], json!(2));
    assert_eq!(server.register("customer", &whole).await, 2);
    assert_eq!(server.get("/subjects/customer/versions").await.ok(), json!([1]));
}

#[tokio::test]
async fn a_reference_to_nothing_is_refused() {
    let server = filled().await;
    let refused = server.post("/subjects/x/versions", with_address(&customer(""), 9)).await;
    refused.refused(
        422,
        42201,
        "Invalid schema of type AVRO, details: \
         No schema reference found for subject \"address\" and version 9",
    );
    let refused = server.post("/subjects/x/versions", json!({"schema": customer("")})).await;
    let message = refused.code(422, 42201);
    assert!(message.contains("Address"), "{message}");
    let more = json!([{"name": "a", "subject": "b", "version": 1, "x": 2}]);
    let body = json!({"schema": "\"int\"", "references": more});
    let refused = server.post("/subjects/x/versions", body).await;
    refused.refused(422, 422, "Unrecognized field: x");
    for references in [json!({}), json!([1]), json!([{"name": "a", "subject": "b"}])] {
        let body = json!({"schema": "\"int\"", "references": references});
        assert_eq!(server.post("/subjects/x/versions", body).await.status, 400);
    }
}

#[tokio::test]
async fn compatibility_looks_into_references() {
    let server = filled().await;
    let wider = record("Address", &[("city", "\"string\""), ("zip", "\"string\"")])
        .replace("\"name\":\"Address\"", "\"name\":\"Address\",\"namespace\":\"shop\"");
    server.put("/config/address", json!({"compatibility": "NONE"})).await.ok();
    assert_eq!(server.register("address", &wider).await, 3);
    let path = "/compatibility/subjects/customer/versions?verbose=true";
    let same = server.post(path, with_address(&customer(""), 1)).await.ok();
    assert_eq!(same, json!({"is_compatible": true, "messages": []}));
    let broken = server.post(path, with_address(&customer(""), 2)).await.ok();
    assert_eq!(broken["is_compatible"], json!(false), "{broken}");
    let refused = server.post("/subjects/customer/versions", with_address(&customer(""), 2)).await;
    let message = refused.code(409, 40901);
    assert!(message.contains("zip"), "{message}");
}

#[tokio::test]
async fn what_is_referred_to_cannot_be_deleted() {
    let server = filled().await;
    let message = "One or more references exist to the schema {magic=1,keytype=SCHEMA,subject=address,version=1}.";
    let path = "/subjects/address/versions/1";
    assert_eq!(server.get(&format!("{path}/referencedby")).await.ok(), json!([2]));
    server.delete(path).await.refused(422, 42206, message);
    server.delete("/subjects/address").await.refused(422, 42206, message);
    server.delete("/subjects/customer").await.ok();
    assert_eq!(server.get(&format!("{path}/referencedby")).await.ok(), json!([]));
    let deleted = server.get(&format!("{path}/referencedby?deleted=true")).await.ok();
    assert_eq!(deleted, json!([2]));
    assert_eq!(server.delete(path).await.ok(), json!(1));
    server.get("/subjects/x/versions/1/referencedby").await.code(404, 40401);
    server.get("/subjects/address/versions/7/referencedby").await.code(404, 40402);
}

#[tokio::test]
async fn references_reach_through_references_up_to_a_limit() {
    let server = Server::start_with(|config| config.limits.references_max = 3).await;
    server.register("t0", &record("T0", &[("f", "\"int\"")])).await;
    for number in 1..=4 {
        let below = number - 1;
        let body = json!({
            "schema": record(&format!("T{number}"), &[("f", &format!("\"T{below}\""))]),
            "references": [{"name": format!("T{below}"), "subject": format!("t{below}"), "version": 1}],
        });
        let answer = server.post(&format!("/subjects/t{number}/versions"), body).await;
        if number < 4 {
            answer.ok();
        } else {
            let message = answer.code(422, 42201);
            assert!(message.contains("more than 3 schemas"), "{message}");
        }
    }
}

/// A schema whose types refer to each other in one long chain, each defined without nesting, and
/// one that begins at the chain's end: as deep as a text of the default limit can make it.
#[tokio::test]
async fn a_chain_of_thousands_of_types_is_judged_or_refused_but_ends_nothing() {
    const TYPES: usize = 3_000;
    let server = Server::start().await;
    let link = |number: usize| {
        let type_of_next =
            if number == 0 { "\"int\"".to_owned() } else { format!("\"T{}\"", number - 1) };
        let record = record(&format!("T{number}"), &[("n", &type_of_next)]);
        format!(r#"{{"name":"f{number}","type":{record}}}"#)
    };
    let links: Vec<String> = (0..TYPES).map(link).collect();
    let chain = format!(r#"{{"type":"record","name":"Chain","fields":[{}]}}"#, links.join(","));
    server.register("chain", &chain).await;
    let last = format!("\"T{}\"", TYPES - 1);
    let user = json!({
        "schema": record("User", &[("first", &last)]),
        "references": [{"name": "Chain", "subject": "chain", "version": 1}],
    });
    for path in ["/subjects/user/versions", "/subjects/user/versions", "/subjects/user"] {
        let answer = server.post(path, user.clone()).await;
        assert!([200, 404, 422].contains(&answer.status), "{}", answer.status);
    }
    server.post("/compatibility/subjects/chain/versions", json!({"schema": chain})).await.ok();
    assert_eq!(server.get("/health").await.ok(), json!({"status": "up"}));
}
